"""API keys."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.paging import Page
from models import ApiKeyEntity, UserEntity
from repositories.paging import decode_cursor, page_of


class ApiKeyRepository:
    """Queries on API keys. ``owner`` is a user's id, or None for everybody's: for administrators."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, key: ApiKeyEntity) -> None:
        """Store a new key."""
        self._session.add(key)
        self._session.flush()

    def by_hash(self, key_hash: str) -> tuple[ApiKeyEntity, UserEntity] | None:
        """The key with that hash and its owner, whether they still count or not."""
        return self._with_owner(ApiKeyEntity.key_hash == key_hash)

    def by_id(self, key_id: str, owner: str) -> tuple[ApiKeyEntity, UserEntity] | None:
        """The same by the key's id."""
        return self._with_owner(ApiKeyEntity.id == key_id, ApiKeyEntity.user_id == owner)

    def get(self, key_id: str, owner: str | None) -> ApiKeyEntity | None:
        """The key, unless it was revoked."""
        return self._session.scalar(_present(owner).where(ApiKeyEntity.id == key_id))

    def lock(self, key_id: str, owner: str | None) -> ApiKeyEntity | None:
        """The key as it is now, unless it was revoked; nobody else changes it until this transaction ends."""
        query = _present(owner).where(ApiKeyEntity.id == key_id).with_for_update()
        return self._session.scalar(query, execution_options={"populate_existing": True})

    def page(self, owner: str | None, *, limit: int, cursor: str | None) -> Page[ApiKeyEntity]:
        """Keys that were not revoked, newest first."""
        query = _present(owner)
        if cursor:
            query = query.where(ApiKeyEntity.id < decode_cursor(cursor, tuple[str])[0])
        rows = self._session.scalars(query.order_by(ApiKeyEntity.id.desc()).limit(limit + 1)).all()
        return page_of(rows, limit, lambda key: (key.id,))

    def note_uses(self, used_at: Mapping[str, datetime]) -> None:
        """Write when keys were used last. In order of their ids, so that two writers never deadlock."""
        for key_id, at in sorted(used_at.items()):
            query = sa.update(ApiKeyEntity).where(
                ApiKeyEntity.id == key_id, sa.or_(ApiKeyEntity.last_used_at.is_(None), ApiKeyEntity.last_used_at < at)
            )
            self._session.execute(query.values(last_used_at=at), execution_options={"synchronize_session": False})

    def _with_owner(self, *wanted: sa.ColumnElement[bool]) -> tuple[ApiKeyEntity, UserEntity] | None:
        query = sa.select(ApiKeyEntity, UserEntity).join(UserEntity, ApiKeyEntity.user_id == UserEntity.id)
        row = self._session.execute(query.where(*wanted)).one_or_none()
        return (row[0], row[1]) if row else None


def _present(owner: str | None) -> sa.Select[ApiKeyEntity]:
    query = sa.select(ApiKeyEntity).where(ApiKeyEntity.revoked_at.is_(None))
    return query if owner is None else query.where(ApiKeyEntity.user_id == owner)
