"""What was used: from the sums of the ledger as far as it is added up, and from its newest rows."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.ledger import EntryState
from domain.reports import Grain, Grouping, Span, Used, spans
from models import LedgerEntity, UsageMarkEntity, UsageSumEntity
from repositories.usage_sum_repository import SUMS

_Query = sa.Select[*tuple[Any, ...]]
_Columns = dict[str, sa.ColumnElement[Any]]
_OF_ROWS: dict[Grouping, _Columns] = {
    Grouping.DAY: {"day": sa.func.date(LedgerEntity.created_at)},
    Grouping.MODEL: {"provider": LedgerEntity.provider.expression, "model": LedgerEntity.model.expression},
    Grouping.USER: {"user_id": LedgerEntity.user_id.expression},
    Grouping.KEY: {"key_id": LedgerEntity.key_id.expression},
}
_OF_SUMS: dict[Grouping, _Columns] = {
    Grouping.DAY: {"day": UsageSumEntity.start.expression},
    Grouping.MODEL: {"provider": UsageSumEntity.provider.expression, "model": UsageSumEntity.model.expression},
    Grouping.USER: {"user_id": UsageSumEntity.user_id.expression},
    Grouping.KEY: {"key_id": sa.func.nullif(UsageSumEntity.key_id, "")},
}


class UsageRepository:
    """Adds settled rows up, by when their turns began. Without a user, it is for administrators alone."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def report(
        self,
        first: date,
        last: date,
        by: Collection[Grouping],
        *,
        user_id: str | None,
        limit: int,
        key_id: str | None = None,
    ) -> list[Used]:
        """What was used from ``first`` to ``last``, both included: ``limit`` groups at most, in their order."""
        mark = None
        while mark != (mark := self._mark()):  # else what was read is not of one moment
            parts = [_sums(first, last, by, user_id, key_id, limit)]
            since, end = max(mark, datetime.combine(first, time.min, UTC)), datetime.combine(last, time.max, UTC)
            if since <= end:
                parts.append(_rows(since, end, by, user_id, key_id, limit))
            rows = self._session.execute(_together(parts, by, limit)).mappings().all()
        return [_used(row) for row in rows]

    def _mark(self) -> datetime:
        return self._session.scalars(sa.select(UsageMarkEntity.until)).one()


def _sums(
    first: date, last: date, by: Collection[Grouping], user_id: str | None, key_id: str | None, limit: int
) -> _Query:
    """What is added up."""
    groups = _grouped(_OF_SUMS, by)
    sums = {name: sa.func.sum(getattr(UsageSumEntity, source)) for name, source in _figures(by).items()}
    told = [(Span.DAY, first, last)] if Grouping.DAY in by else spans(first, last)
    grain = _grain(by, filtered=user_id is not None or key_id is not None)
    times = [
        sa.and_(
            UsageSumEntity.grain == grain,
            UsageSumEntity.span == span,
            UsageSumEntity.start.between(start, end),
            *_of(UsageSumEntity, user_id, key_id),
        )
        for span, start, end in told
    ]
    return _first_groups(_labelled(groups | sums).where(sa.or_(*times)), groups, limit)


def _rows(
    since: datetime, end: datetime, by: Collection[Grouping], user_id: str | None, key_id: str | None, limit: int
) -> _Query:
    """What the ledger's rows of that time come to, both ends included."""
    groups = _grouped(_OF_ROWS, by)
    query = _labelled(groups | {name: SUMS[source] for name, source in _figures(by).items()}).where(
        LedgerEntity.created_at >= since,
        LedgerEntity.created_at <= end,
        LedgerEntity.state == EntryState.SETTLED,
        *_of(LedgerEntity, user_id, key_id),
    )
    return _first_groups(query, groups, limit)


def _together(parts: Sequence[_Query], by: Collection[Grouping], limit: int) -> _Query:
    """The parts as one. What is among its first groups is among the first ones of each part that has it."""
    every = sa.union_all(*(sa.select(part.subquery()) for part in parts)).subquery()
    groups: _Columns = {name: every.c[name] for name in _grouped(_OF_ROWS, by)}
    query = _labelled(groups | {name: sa.func.sum(every.c[name]) for name in _figures(by)})
    return _first_groups(query, groups, limit)


def _first_groups(query: _Query, groups: _Columns, limit: int) -> _Query:
    return query.group_by(*groups.values()).order_by(*groups.values()).limit(limit)


def _figures(by: Collection[Grouping]) -> dict[str, str]:
    """What is told -> which sum that is: a turn of several models is one turn, unless they are told apart."""
    names = {name: name for name in SUMS if name != "leading_turns"}
    return names if Grouping.MODEL in by else names | {"turns": "leading_turns"}


def _grouped(source: Mapping[Grouping, _Columns], by: Collection[Grouping]) -> _Columns:
    return {name: column for grouping in by for name, column in source[grouping].items()}


def _labelled(columns: _Columns) -> _Query:
    return sa.select(*(column.label(name) for name, column in columns.items()))


def _of(entity: Any, user_id: str | None, key_id: str | None) -> list[sa.ColumnElement[bool]]:
    wanted = {"user_id": user_id, "key_id": key_id}
    return [getattr(entity, name) == value for name, value in wanted.items() if value is not None]


def _grain(by: Collection[Grouping], *, filtered: bool) -> Grain:
    """The least that has it all. What is asked of one user, or key, is in the finest, which has indexes for them."""
    people = Grouping.USER in by or Grouping.KEY in by
    if filtered or (people and Grouping.MODEL in by):
        return Grain.ALL
    return Grain.KEYS if people else Grain.MODELS


def _used(row: Mapping[Any, Any]) -> Used:
    """The values in kinds of ours: each database has its own for sums and days."""
    values: dict[str, Any] = {name: int(value or 0) if name in SUMS else _told(value) for name, value in row.items()}
    return Used(**values)


def _told(value: Any) -> str | None:
    return None if value is None else str(value)
