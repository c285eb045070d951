"""Budgets of users and of API keys."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Id

_Limit = Mapped[int | None]
_Count = Mapped[int]


def _limit() -> Mapped[int | None]:
    return mapped_column(sa.BigInteger)


def _count() -> Mapped[int]:
    return mapped_column(sa.BigInteger)


class BudgetColumns:
    """What one user, or one API key, may use, has used, and holds for turns that are on their way.

    One row for all windows, so that one guarded UPDATE decides. A limit that is NULL does not limit; ``cost`` is in
    nano-USD. What was ``used`` counts for the window that begins at ``day_start`` or ``month_start`` (UTC), and is void
    once another one has begun. ``held`` belongs to no window: it becomes use in the one in which its turn ends. The row
    stays when its limits go, so that what is held is given back to the row that held it.
    """

    requests_held: _Count = _count()
    tokens_held: _Count = _count()
    cost_held: _Count = _count()
    day_requests_limit: _Limit = _limit()
    day_tokens_limit: _Limit = _limit()
    day_cost_limit: _Limit = _limit()
    day_requests_used: _Count = _count()
    day_tokens_used: _Count = _count()
    day_cost_used: _Count = _count()
    day_start: Mapped[date]
    month_requests_limit: _Limit = _limit()
    month_tokens_limit: _Limit = _limit()
    month_cost_limit: _Limit = _limit()
    month_requests_used: _Count = _count()
    month_tokens_used: _Count = _count()
    month_cost_used: _Count = _count()
    month_start: Mapped[date]
    total_requests_limit: _Limit = _limit()
    total_tokens_limit: _Limit = _limit()
    total_cost_limit: _Limit = _limit()
    total_requests_used: _Count = _count()
    total_tokens_used: _Count = _count()
    total_cost_used: _Count = _count()
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class BudgetEntity(BudgetColumns, Base):
    """A user's."""

    __tablename__ = "budgets"

    user_id: Mapped[Id] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)


class KeyBudgetEntity(BudgetColumns, Base):
    """An API key's. Who looks at a key learns of it there (``budgeted``)."""

    __tablename__ = "key_budgets"

    key_id: Mapped[Id] = mapped_column(sa.ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
