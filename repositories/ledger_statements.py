"""The statements on the ledger that every request takes part in, made once."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from domain.identifiers import new_id
from domain.ledger import Bill, Entry, EntryState
from models import LedgerEntity
from repositories.prepared import Executes, Prepared, Values

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
_MOST = 16  # rows of one UPDATE

_INSERT = Prepared(sa.insert(_TABLE))
_SETTLE = Prepared(
    sa.update(_TABLE)
    .where(_TABLE.c.id == sa.bindparam("entry_id"), _TABLE.c.state == EntryState.RESERVED)
    .values({name: sa.bindparam(f"new_{name}", type_=_TABLE.c[name].type) for name in _OUTCOME})
)


def insert(on: Executes, rows: Sequence[Values]) -> None:
    """Add rows, made by :func:`reserved_row` or :func:`further_rows`."""
    if rows:
        _INSERT.on(on, rows)


def settle(on: Executes, bills: Sequence[Bill]) -> bool:
    """Change reserved rows for good; false if somebody else has done so with one of them."""
    rows = [_settled_row(bill) for bill in bills]
    if on.dialect.name in ("mysql", "mariadb"):
        return sum(_settle_by_join(on, part) for part in _parts(rows)) == len(rows)
    return not rows or _SETTLE.on(on, rows).rowcount == len(rows)


def _settle_by_join(on: Executes, rows: Sequence[Values]) -> int:
    """The driver would make a round trip for each row."""
    if len(rows) == 1:
        return _SETTLE.on(on, rows).rowcount
    values = {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}
    return _joined(len(rows)).on(on, values).rowcount


def _parts(rows: Sequence[Values]) -> list[Sequence[Values]]:
    """In parts of few different sizes, for few different statements: 16, 8, 4, 2, 1."""
    parts, start = [], 0
    while start < len(rows):
        size = min(_MOST, 1 << (len(rows) - start).bit_length() - 1)
        parts.append(rows[start : start + size])
        start += size
    return parts


@cache
def _joined(size: int) -> Prepared:
    new = sa.union_all(*(_told(number) for number in range(size))).subquery("new")
    # Through a function, which no index is for: that of all reserved rows would find, and lock, those of other nodes.
    is_reserved = sa.func.concat(_TABLE.c.state) == EntryState.RESERVED
    here = [_TABLE.c.id == new.c.entry_id, _TABLE.c.id.in_([_id(number) for number in range(size)])]
    return Prepared(
        sa.update(_TABLE).where(*here, is_reserved).values({name: new.c[f"new_{name}"] for name in _OUTCOME})
    )


def _told(number: int) -> sa.Select[Any]:
    # In the column's own character set: in any other, MySQL would convert the whole column, and find no index.
    id_ = sa.cast(_id(number), mysql.CHAR(charset="ascii")).collate("ascii_bin").label("entry_id")
    outcome = [
        sa.bindparam(f"new_{name}_{number}", type_=_TABLE.c[name].type).label(f"new_{name}") for name in _OUTCOME
    ]
    return sa.select(id_, *outcome)


def _id(number: int) -> "sa.BindParameter[str]":
    return sa.bindparam(f"entry_id_{number}", type_=_TABLE.c.id.type)


def reserved_row(entry: Entry) -> dict[str, Any]:
    """A new row."""
    return {**_NOTHING_YET, **dict(zip(_NAMES, _values_of(entry), strict=True))}


def further_rows(bill: Bill) -> list[dict[str, Any]]:
    """The other attempts, for which nothing was reserved."""
    return [
        {**reserved_row(bill.entry), **row, "id": new_id("led"), "attempt": attempt, "held_tokens": 0, "held_cost": 0}
        for attempt, row in enumerate(bill.rows[1:], 2)
    ]


def entry_of(row: LedgerEntity) -> Entry:
    """A row as it was reserved."""
    return Entry(*_values_of(row))


def _settled_row(bill: Bill) -> dict[str, Any]:
    return {"entry_id": bill.entry.id} | {f"new_{name}": value for name, value in bill.rows[0].items()}
