"""The ledger's rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.generation import GenerationStatus
from domain.ledger import EntryState
from models import GenerationEntity, LedgerEntity

_RESERVED = LedgerEntity.state == EntryState.RESERVED


class LedgerRepository:
    """Writes the ledger: each row changes once, from reserved to what it comes to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, *entities: LedgerEntity) -> None:
        """Store new rows."""
        self._session.add_all(entities)
        self._session.flush()

    def settle(self, entry_id: str, **values: Any) -> bool:
        """Change a reserved row for good; false if somebody else has done so."""
        query = sa.update(LedgerEntity).where(LedgerEntity.id == entry_id, _RESERVED).values(**values)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1

    def reserved(self, generation_id: str, kind: str) -> LedgerEntity | None:
        """The row that a generation reserved, while nobody has settled it."""
        query = sa.select(LedgerEntity).where(
            LedgerEntity.generation_id == generation_id, LedgerEntity.kind == kind, _RESERVED
        )
        return self._session.scalar(query)

    def left_over(self, before: datetime, *, limit: int) -> Sequence[LedgerEntity]:
        """Rows that were reserved before that moment by what does not run any more."""
        running = sa.exists().where(
            GenerationEntity.id == LedgerEntity.generation_id, GenerationEntity.status == GenerationStatus.RUNNING
        )
        query = sa.select(LedgerEntity).where(_RESERVED, LedgerEntity.created_at < before, ~running)
        return self._session.scalars(query.order_by(LedgerEntity.created_at).limit(limit)).all()
