"""Routes that administrators have set."""

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import RouteEntity


class RouteRepository:
    """Queries on routes; they belong to the installation, not to a user."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> Sequence[RouteEntity]:
        """Every route, by name."""
        return self._session.scalars(sa.select(RouteEntity).order_by(RouteEntity.name)).all()

    def put(self, entity: RouteEntity) -> None:
        """Store a route in place of the one of its name."""
        self._session.merge(entity)
        self._session.flush()

    def delete(self, name: str) -> bool:
        """Forget a route; whether there was one."""
        query = sa.delete(RouteEntity).where(RouteEntity.name == name)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1
