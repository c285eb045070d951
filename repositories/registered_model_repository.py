"""Models that were registered at run time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import RegisteredModelEntity

SYSTEM = "system"  # who holds the models of the installation


@dataclass(frozen=True, slots=True)
class SealedKey:
    """The sealed key of one row, and whose the row is."""

    id: str
    holder: str
    sealed: str


class RegisteredModelRepository:
    """Queries on registered models. ``holder`` is a user's id or :data:`SYSTEM`; others' rows are not there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> Sequence[RegisteredModelEntity]:
        """Everybody's, oldest first: for the parts that answer, not for people."""
        return self._session.scalars(sa.select(RegisteredModelEntity).order_by(RegisteredModelEntity.id)).all()

    def of(self, *holders: str) -> Sequence[RegisteredModelEntity]:
        """Those of the holders, oldest first."""
        query = sa.select(RegisteredModelEntity).where(RegisteredModelEntity.holder.in_(holders))
        return self._session.scalars(query.order_by(RegisteredModelEntity.id)).all()

    def get(self, model_id: str, *holders: str, lock: bool = False) -> RegisteredModelEntity | None:
        """One of the holders' models; with ``lock``, nobody else changes it before this transaction ends."""
        query = sa.select(RegisteredModelEntity).where(
            RegisteredModelEntity.id == model_id, RegisteredModelEntity.holder.in_(holders)
        )
        return self._session.scalar(query.with_for_update() if lock else query)

    def add(self, entity: RegisteredModelEntity) -> None:
        """Store a new one."""
        self._session.add(entity)
        self._session.flush()

    def put(self, entity: RegisteredModelEntity) -> None:
        """Store one in place of the row with its id."""
        self._session.merge(entity)
        self._session.flush()

    def delete(self, entity: RegisteredModelEntity) -> None:
        """Forget one that was got here."""
        self._session.delete(entity)
        self._session.flush()

    # Keys at rest

    def count_sealed(self, *, other_than: str = "") -> int:
        """How many keys there are, or how many sealed with another master key than the one with this id."""
        query = sa.select(sa.func.count()).select_from(RegisteredModelEntity)
        return self._session.scalar(query.where(_sealed_otherwise(other_than))) or 0

    def master_key_ids(self) -> Sequence[str]:
        """The ids of the master keys that keys are sealed with."""
        key_id = sa.func.substr(RegisteredModelEntity.api_key, 1, 8)
        query = sa.select(key_id).where(RegisteredModelEntity.api_key.is_not(None)).distinct()
        return sorted(self._session.scalars(query).all())

    def sealed_keys(self, *, other_than: str, after: str, limit: int) -> list[SealedKey]:
        """Some keys that are sealed with another master key, by id, those after an id."""
        row = RegisteredModelEntity
        query = sa.select(row.id, row.holder, row.api_key).where(_sealed_otherwise(other_than), row.id > after)
        found = self._session.execute(query.order_by(row.id).limit(limit)).all()
        return [SealedKey(model_id, holder, sealed or "") for model_id, holder, sealed in found]

    def replace_key(self, key: SealedKey, sealed: str) -> bool:
        """Put the key that was sealed anew in place of the old one; whether it is still that one, and was replaced."""
        query = (
            sa.update(RegisteredModelEntity)
            .where(RegisteredModelEntity.id == key.id, RegisteredModelEntity.api_key == key.sealed)
            .values(api_key=sealed)
        )
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1


def _sealed_otherwise(key_id: str) -> sa.ColumnElement[bool]:
    sealed = RegisteredModelEntity.api_key
    if not key_id:
        return sealed.is_not(None)
    return sa.and_(sealed.is_not(None), sa.func.substr(sealed, 1, len(key_id) + 1) != f"{key_id}.")
