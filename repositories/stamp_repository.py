"""Stamps of what every node keeps in memory."""

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import StampEntity


class StampRepository:
    """Queries on stamps. Every one that there is was made by a migration."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, name: str) -> int:
        """The number of a stamp."""
        return self._session.scalar(sa.select(StampEntity.number).where(StampEntity.name == name)) or 0

    def all(self) -> dict[str, int]:
        """The number of every stamp, by name."""
        rows = self._session.execute(sa.select(StampEntity.name, StampEntity.number)).all()
        return {name: number for name, number in rows}  # noqa: C416  # a row is no pair for mypy

    def move(self, name: str) -> None:
        """Say that what the stamp stands for was changed in this transaction; those who do so queue here."""
        query = sa.update(StampEntity).where(StampEntity.name == name).values(number=StampEntity.number + 1)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        if cast("sa.CursorResult[Any]", result).rowcount != 1:
            raise LookupError(f"there is no stamp {name}")
