"""Budgets: held and settled by single updates, which no two transactions can both pass."""

from datetime import date, datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from domain.budgets import Amounts, Limits, Measure, Standing, Standings, Window, first_days
from models import BudgetEntity

_ALL = [(window, measure) for window in Window for measure in Measure]


class BudgetRepository:
    """Queries on budgets. ``moment`` says which day and month (UTC) it is."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def exists(self, user_id: str) -> bool:
        """Whether anybody counts what this user uses."""
        query = sa.select(sa.literal(1)).where(BudgetEntity.user_id == user_id)
        return self._session.scalar(query) is not None

    def hold(self, user_id: str, most: Amounts, moment: datetime) -> bool:
        """Keep so much aside; false, and nothing kept, if any limit does not allow it."""
        guards = [
            sa.or_(limit.is_(None), _used_now(window, measure, moment) + held + getattr(most, measure) <= limit)
            for window, measure in _ALL
            for limit, held in [(_column(window, measure, "limit"), _held(measure))]
        ]
        kept = {_held(measure): _held(measure) + getattr(most, measure) for measure in Measure}
        return self._changed(sa.update(BudgetEntity).where(BudgetEntity.user_id == user_id, *guards).values(kept))

    def settle(self, user_id: str, held: Amounts, used: Amounts, moment: datetime) -> None:
        """Give back what was held, and count what was used in the windows of ``moment``."""
        given_back = [(_held(measure), _held(measure) - getattr(held, measure)) for measure in Measure]
        counted = [
            (_column(window, measure, "used"), _used_now(window, measure, moment) + getattr(used, measure))
            for window, measure in _ALL
        ]
        # MySQL evaluates these one after the other, each with the new values of those before: the days come last.
        days = [(start, sa.case((start < first, first), else_=start)) for start, first in _starts(moment).values()]
        query = sa.update(BudgetEntity).where(BudgetEntity.user_id == user_id)
        self._changed(query.ordered_values(*given_back, *counted, *days))

    def limit(self, user_id: str, limits: Limits, moment: datetime) -> None:
        """Set all limits anew; those that are left out are none. What was used before stays counted."""
        values: dict[Any, Any] = {_column(*place, "limit"): limits.get(place) for place in _ALL}
        query = sa.update(BudgetEntity).where(BudgetEntity.user_id == user_id)
        if not self._changed(query.values(values | {BudgetEntity.updated_at: moment})):
            self._session.add(_new(user_id, limits, moment))
            self._session.flush()

    def get(self, user_id: str) -> BudgetEntity | None:
        """The user's budget, if anybody counts what they use; see :func:`standings_of`."""
        query = sa.select(BudgetEntity).where(BudgetEntity.user_id == user_id)
        return self._session.scalar(query, execution_options={"populate_existing": True})

    def _changed(self, query: Any) -> bool:
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1


def standings_of(row: BudgetEntity, moment: datetime) -> Standings:
    """How every limit stands at ``moment``."""
    return {place: _standing(row, *place, moment) for place in _ALL}


def _column(window: Window, measure: Measure, what: str) -> InstrumentedAttribute[Any]:
    return cast("InstrumentedAttribute[Any]", getattr(BudgetEntity, f"{window}_{measure}_{what}"))


def _held(measure: Measure) -> InstrumentedAttribute[Any]:
    return cast("InstrumentedAttribute[Any]", getattr(BudgetEntity, f"{measure}_held"))


def _starts(moment: datetime) -> dict[Window, tuple[InstrumentedAttribute[date], date]]:
    """Window -> the column of its first day in the row, and its first day at ``moment``."""
    day, month = first_days(moment)
    return {Window.DAY: (BudgetEntity.day_start, day), Window.MONTH: (BudgetEntity.month_start, month)}


def _used_now(window: Window, measure: Measure, moment: datetime) -> Any:
    """What counts as used at ``moment``: nothing yet, if the row still speaks of an earlier window."""
    used = _column(window, measure, "used")
    if window is Window.TOTAL:
        return used
    start, first = _starts(moment)[window]
    return sa.case((start < first, 0), else_=used)


def _standing(row: BudgetEntity, window: Window, measure: Measure, moment: datetime) -> Standing:
    limit, used = (getattr(row, f"{window}_{measure}_{what}") for what in ("limit", "used"))
    start, first = _starts(moment).get(window, (None, date.min))
    over = start is not None and getattr(row, start.key) < first
    return Standing(limit, 0 if over else used, getattr(row, f"{measure}_held"))


def _new(user_id: str, limits: Limits, moment: datetime) -> BudgetEntity:
    day, month = first_days(moment)
    counts = {f"{window}_{measure}_used": 0 for window, measure in _ALL} | {f"{measure}_held": 0 for measure in Measure}
    told = {f"{window}_{measure}_limit": limit for (window, measure), limit in limits.items()}
    return BudgetEntity(
        user_id=user_id, day_start=day, month_start=month, created_at=moment, updated_at=moment, **counts, **told
    )
