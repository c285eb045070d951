"""What was used, added up from the ledger."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.ledger import EntryKind, EntryState
from domain.reports import Grouping, Used
from models import LedgerEntity

_COLUMNS: dict[Grouping, dict[str, sa.ColumnElement[Any]]] = {
    Grouping.DAY: {"day": sa.func.date(LedgerEntity.created_at)},
    Grouping.MODEL: {"provider": LedgerEntity.provider.expression, "model": LedgerEntity.model.expression},
    Grouping.USER: {"user_id": LedgerEntity.user_id.expression},
    Grouping.KEY: {"key_id": LedgerEntity.key_id.expression},
}
_SUMS: dict[str, sa.ColumnElement[Any]] = {
    "turns": sa.func.count(sa.distinct(sa.case((LedgerEntity.kind != EntryKind.TITLE, LedgerEntity.generation_id)))),
    "requests": sa.func.count(),
    "unpriced": sa.func.count(sa.case((LedgerEntity.input_price.is_(None), 1))),
    "prompt_tokens": sa.func.sum(LedgerEntity.prompt_tokens),
    "cached_tokens": sa.func.sum(LedgerEntity.cached_tokens),
    "completion_tokens": sa.func.sum(LedgerEntity.completion_tokens),
    "reasoning_tokens": sa.func.sum(LedgerEntity.reasoning_tokens),
    "cost": sa.func.sum(LedgerEntity.cost),
}


class UsageRepository:
    """Adds settled rows up, by when their turns began. Without a user, it is for administrators alone."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def report(
        self,
        start: datetime,
        end: datetime,
        by: Collection[Grouping],
        *,
        user_id: str | None,
        limit: int,
        key_id: str | None = None,
    ) -> list[Used]:
        """What was used from ``start`` to ``end``, both included: ``limit`` groups at most, in their order."""
        groups = {name: column for grouping in by for name, column in _COLUMNS[grouping].items()}
        columns = [column.label(name) for name, column in (groups | _SUMS).items()]
        query = sa.select(*columns).where(
            LedgerEntity.created_at >= start,
            LedgerEntity.created_at <= end,
            LedgerEntity.state == EntryState.SETTLED,
        )
        if user_id is not None:
            query = query.where(LedgerEntity.user_id == user_id)
        if key_id is not None:
            query = query.where(LedgerEntity.key_id == key_id)
        query = query.group_by(*groups.values()).order_by(*groups.values()).limit(limit)
        return [_used(row) for row in self._session.execute(query).mappings()]


def _used(row: Mapping[Any, Any]) -> Used:
    """The values in kinds of ours: each database has its own for sums and days."""
    values: dict[str, Any] = {name: int(value or 0) if name in _SUMS else _told(value) for name, value in row.items()}
    return Used(**values)


def _told(value: Any) -> str | None:
    return None if value is None else str(value)
