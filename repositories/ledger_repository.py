"""The ledger's rows."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

import sqlalchemy as sa

from domain.generation import GenerationStatus
from domain.identifiers import new_id
from domain.ledger import Bill, Entry, EntryState
from models import GenerationEntity, LedgerEntity
from repositories.prepared import Prepared
from repositories.transaction import Transaction

_RESERVED = LedgerEntity.state == EntryState.RESERVED
_TABLE = cast("sa.Table", LedgerEntity.__table__)
_NAMES = tuple(field.name for field in fields(Entry))
_values_of = attrgetter(*_NAMES)
_NOTHING_YET = dict.fromkeys(_TABLE.columns.keys()) | {"attempt": 1, "state": EntryState.RESERVED, "cost": 0}
_OUTCOME = (
    "provider",
    "model",
    "state",
    "source",
    "end_reason",
    "error_code",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "input_price",
    "cached_price",
    "output_price",
    "reasoning_price",
    "cost",
    "settled_at",
)

INSERT = Prepared(sa.insert(_TABLE))
SETTLE = Prepared(
    sa.update(_TABLE)
    .where(_TABLE.c.id == sa.bindparam("entry_id"), _TABLE.c.state == EntryState.RESERVED)
    .values({name: sa.bindparam(f"new_{name}", type_=_TABLE.c[name].type) for name in _OUTCOME})
)


class LedgerRepository:
    """Writes the ledger: each row changes once, from reserved to what it comes to."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, entry: Entry) -> None:
        """Reserve a row."""
        INSERT.on(self._transaction.connection, reserved_row(entry))

    def settle(self, bill: Bill) -> bool:
        """Change a reserved row for good, and add those of further attempts; false if somebody else has done so."""
        if SETTLE.on(self._transaction.connection, settled_row(bill)).rowcount != 1:
            return False
        further = further_rows(bill)
        if further:
            INSERT.on(self._transaction.connection, further)
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


def reserved_row(entry: Entry) -> dict[str, Any]:
    """For INSERT."""
    return {**_NOTHING_YET, **dict(zip(_NAMES, _values_of(entry), strict=True))}


def settled_row(bill: Bill) -> dict[str, Any]:
    """For SETTLE."""
    return {"entry_id": bill.entry.id} | {f"new_{name}": value for name, value in bill.rows[0].items()}


def further_rows(bill: Bill) -> list[dict[str, Any]]:
    """For INSERT: the other attempts, for which nothing was reserved."""
    return [
        {**reserved_row(bill.entry), **row, "id": new_id("led"), "attempt": attempt, "held_tokens": 0, "held_cost": 0}
        for attempt, row in enumerate(bill.rows[1:], 2)
    ]


def entry_of(row: LedgerEntity) -> Entry:
    """A row as it was reserved."""
    return Entry(*_values_of(row))
