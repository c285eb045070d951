"""Adds the ledger's rows up, each once."""

import importlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from domain.ledger import EntryKind, EntryState
from domain.reports import Grain, Span
from models import LedgerEntity, UsageMarkEntity, UsageSumEntity
from repositories.database_time import DatabaseTime
from repositories.prepared import Prepared

_Column = sa.ColumnElement[Any]
_SETTLED = LedgerEntity.state == EntryState.SETTLED
_UNTOLD = sa.literal("")
_earlier = aliased(LedgerEntity)
_earlier_attempt = sa.and_(
    _earlier.generation_id == LedgerEntity.generation_id,
    _earlier.kind == LedgerEntity.kind,
    _earlier.state == EntryState.SETTLED,
    _earlier.attempt < LedgerEntity.attempt,
)
_same_model = sa.and_(_earlier.provider == LedgerEntity.provider, _earlier.model == LedgerEntity.model)


def _turns(*earlier: _Column) -> _Column:
    """How many turns there are: of each, the first row counts. Others than the first attempt have to look for it."""
    first = sa.or_(LedgerEntity.attempt == 1, ~sa.exists().where(_earlier_attempt, *earlier))
    return sa.func.count(sa.case((sa.and_(LedgerEntity.kind != EntryKind.TITLE, first), 1)))


SUMS: dict[str, _Column] = {
    "turns": _turns(_same_model),
    "leading_turns": _turns(),
    "requests": sa.func.count(),
    "unpriced": sa.func.count(sa.case((LedgerEntity.input_price.is_(None), 1))),
    "prompt_tokens": sa.func.coalesce(sa.func.sum(LedgerEntity.prompt_tokens), 0),
    "cached_tokens": sa.func.coalesce(sa.func.sum(LedgerEntity.cached_tokens), 0),
    "completion_tokens": sa.func.coalesce(sa.func.sum(LedgerEntity.completion_tokens), 0),
    "reasoning_tokens": sa.func.coalesce(sa.func.sum(LedgerEntity.reasoning_tokens), 0),
    "cost": sa.func.coalesce(sa.func.sum(LedgerEntity.cost), 0),
}
_NAMES = ("user_id", "key_id", "provider", "model")
_CELL = ("grain", *_NAMES, "span", "start")
_TOLD = {Grain.ALL: _NAMES, Grain.KEYS: ("user_id", "key_id"), Grain.MODELS: ("provider", "model")}
_groups = (LedgerEntity.user_id, LedgerEntity.key_id, LedgerEntity.provider, LedgerEntity.model)
_settled = (
    sa.select(*_groups, *(column.label(name) for name, column in SUMS.items()))
    .where(LedgerEntity.state == EntryState.SETTLED)
    .group_by(*_groups)
)
_of_time = _settled.where(
    LedgerEntity.created_at >= sa.bindparam("since"), LedgerEntity.created_at < sa.bindparam("until")
)
_of_turn = _settled.where(
    LedgerEntity.generation_id == sa.bindparam("generation_id"), LedgerEntity.kind == sa.bindparam("kind")
)


class UsageSumRepository:
    """The sums, and the mark up to which the ledger is in them.

    The mark never passes a row that is reserved, so what is behind it has come to its end. Who changes sums holds the
    mark's row: one at a time, and the last lock that they take.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def mark(self) -> datetime:
        """How far it is added up."""
        return self._session.scalars(sa.select(UsageMarkEntity.until)).one()

    def horizon(self, delay: timedelta) -> datetime:
        """How far it could be: to where everything has ended, and ``delay`` before now, for nodes whose clocks differ.

        By the database's clock: a node's that is ahead would move the mark past all that the others write.
        """
        reserved = sa.select(LedgerEntity.created_at).where(LedgerEntity.state == EntryState.RESERVED)
        oldest = self._session.scalar(reserved.order_by(LedgerEntity.created_at).limit(1))
        latest: datetime = self._session.scalars(sa.select(DatabaseTime(-delay))).one()
        return latest if oldest is None else min(latest, oldest)

    def add_up(self, horizon: datetime, *, most: int) -> datetime:
        """Add about ``most`` rows, none from ``horizon`` on; the mark as it is then. To be committed by itself."""
        mark = self._lock_mark()
        first = self._place(mark, horizon)
        until = horizon
        if first is not None:
            day = first.date()
            until = min(horizon, datetime.combine(day, time.min, first.tzinfo) + timedelta(days=1))
            until = self._place(first, until, most) or until
            self._add(day, self._session.execute(_of_time, {"since": first, "until": until}))
        if until <= mark:
            return mark
        self._session.execute(sa.update(UsageMarkEntity).values(until=until), execution_options=_QUIETLY)
        return until

    def add_late(self, generation_id: str, kind: str, began: datetime) -> None:
        """Add rows that were settled in this transaction, if the mark is past them already."""
        if began < self._lock_mark():
            rows = self._session.execute(_of_turn, {"generation_id": generation_id, "kind": kind})
            self._add(began.date(), rows)

    def _lock_mark(self) -> datetime:
        return self._session.scalars(sa.select(UsageMarkEntity.until).with_for_update()).one()

    def _place(self, since: datetime, before: datetime, number: int = 0) -> datetime | None:
        """When the row with that number from ``since`` on began, if that is later; the first one's number is 0."""
        began = LedgerEntity.created_at
        query = sa.select(began).where(began >= since, began < before).order_by(began).offset(number).limit(1)
        found = self._session.scalar(query)
        return found if number == 0 or found != since else None

    def _add(self, day: date, rows: Iterable[sa.Row[*tuple[Any, ...]]]) -> None:
        sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(SUMS))
        for row in rows:
            names, figures = dict(zip(_NAMES, (name or "" for name in row), strict=False)), row[len(_NAMES) :]
            for grain, told in _TOLD.items():
                cell = sums[grain, *(names[name] if name in told else "" for name in _NAMES)]
                cell[:] = map(int.__add__, cell, map(int, figures))
        if sums:
            values = [
                dict(zip((*_CELL, *SUMS), (*names, span, span.start(day), *figures), strict=True))
                for names, figures in sums.items()
                for span in Span
            ]
            connection = self._session.connection()
            _adding(connection.dialect.name).on(connection, values)


@cache
def _adding(kind: str) -> Prepared:
    """The statement that puts a sum in, or adds it to the one that is there."""
    # Each database has its own, in its own module: 2 MB for those that are not used.
    insert: Any = importlib.import_module(f"sqlalchemy.dialects.{kind.replace('mariadb', 'mysql')}").insert
    table = cast("sa.Table", UsageSumEntity.__table__)
    put = insert(table)
    if hasattr(put, "on_duplicate_key_update"):
        return Prepared(put.on_duplicate_key_update({name: table.c[name] + put.inserted[name] for name in SUMS}))
    added = {name: table.c[name] + put.excluded[name] for name in SUMS}
    return Prepared(put.on_conflict_do_update(index_elements=list(table.primary_key), set_=added))


_QUIETLY = {"synchronize_session": False}
