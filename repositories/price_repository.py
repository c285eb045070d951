"""Prices that administrators have set."""

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import PriceEntity


class PriceRepository:
    """Queries on prices; they belong to the installation, not to a user."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> Sequence[PriceEntity]:
        """Every price, by provider and model."""
        return self._session.scalars(sa.select(PriceEntity).order_by(PriceEntity.provider, PriceEntity.model)).all()

    def get(self, provider: str, model: str) -> PriceEntity | None:
        """The price of a model."""
        return self._session.get(PriceEntity, (provider, model))

    def put(self, entity: PriceEntity) -> None:
        """Store a price in place of the one that its model has."""
        self._session.merge(entity)
        self._session.flush()

    def delete(self, provider: str, model: str) -> bool:
        """Forget a price; whether there was one."""
        query = sa.delete(PriceEntity).where(PriceEntity.provider == provider, PriceEntity.model == model)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1
