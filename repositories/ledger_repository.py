"""The ledger's rows."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from domain.generation import GenerationStatus
from domain.ledger import Bill, Entry, EntryState
from models import GenerationEntity, LedgerEntity
from repositories import ledger_statements
from repositories.ledger_statements import entry_of, further_rows, reserved_row
from repositories.transaction import Transaction

_RESERVED = LedgerEntity.state == EntryState.RESERVED


class LedgerRepository:
    """Writes the ledger: each row changes once, from reserved to what it comes to."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, entry: Entry) -> None:
        """Reserve a row."""
        ledger_statements.insert(self._transaction.plain, [reserved_row(entry)])

    def settle(self, bill: Bill) -> bool:
        """Change a reserved row for good, and add those of further attempts; false if somebody else has done so."""
        if not ledger_statements.settle(self._transaction.plain, [bill]):
            return False
        ledger_statements.insert(self._transaction.plain, further_rows(bill))
        return True

    def reserved(self, generation_id: str, kind: str) -> Entry | None:
        """The row that a generation reserved, while nobody has settled it."""
        query = sa.select(LedgerEntity).where(
            LedgerEntity.generation_id == generation_id, LedgerEntity.kind == kind, _RESERVED
        )
        row = self._transaction.session.scalar(query)
        return None if row is None else entry_of(row)

    def left_over(self, before: datetime, *, limit: int) -> Sequence[Entry]:
        """Rows that were reserved before that moment by what does not run any more."""
        running = sa.exists().where(
            GenerationEntity.id == LedgerEntity.generation_id, GenerationEntity.status == GenerationStatus.RUNNING
        )
        query = sa.select(LedgerEntity).where(_RESERVED, LedgerEntity.created_at < before, ~running)
        return [
            entry_of(row)
            for row in self._transaction.session.scalars(query.order_by(LedgerEntity.created_at).limit(limit))
        ]
