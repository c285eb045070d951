"""Budgets: held and settled by single updates, which no two transactions can both pass."""

from datetime import date, datetime
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from domain.budgets import Amounts, Limits, Measure, Standing, Standings, Window, first_days
from models import BudgetColumns
from repositories.budget_statements import ALL, BudgetStatements, holding, settling
from repositories.transaction import Transaction

_Row = TypeVar("_Row", bound=BudgetColumns)


class BudgetRepository(Generic[_Row]):
    """Queries on the budgets of users, or of API keys: whichever ``table`` is of, its ids are the ``of`` here.

    ``moment`` says which day and month (UTC) it is.
    """

    def __init__(
        self, transaction: Transaction, table: type[_Row], id_: InstrumentedAttribute[str], statements: BudgetStatements
    ) -> None:
        self._transaction = transaction
        self._table = table
        self._id = id_
        self._statements = statements

    def exists(self, of: str) -> bool:
        """Whether anybody counts what this one uses."""
        return bool(self._statements.exists.on(self._transaction.plain, {"of": of}).fetchall())

    def hold(self, of: str, most: Amounts, moment: datetime) -> bool:
        """Keep so much aside; false, and nothing kept, if any limit does not allow it."""
        return self._statements.hold.on(self._transaction.plain, holding(of, most, moment)).rowcount == 1

    def settle(self, of: str, held: Amounts, used: Amounts, moment: datetime) -> None:
        """Give back what was held, and count what was used in the windows of ``moment``."""
        self._statements.settle.on(self._transaction.plain, settling(of, held, used, moment))

    def limit(self, of: str, limits: Limits, moment: datetime) -> None:
        """Set all limits anew; those that are left out are none. What was used before stays counted."""
        values: dict[Any, Any] = {self._column(*place, "limit"): limits.get(place) for place in ALL}
        query = sa.update(self._table).where(self._id == of).values(values | {self._of_row("updated_at"): moment})
        result = self._transaction.session.execute(query, execution_options={"synchronize_session": False})
        if cast("sa.CursorResult[Any]", result).rowcount != 1:
            self._transaction.session.add(self._table(**{self._id.key: of}, **_first_values(limits, moment)))
            self._transaction.session.flush()

    def standings(self, of: str, moment: datetime) -> Standings:
        """How every limit stands at ``moment``; nothing where nobody counts."""
        row = self.get(of)
        return standings_of(row, moment) if row else {}

    def get(self, of: str) -> _Row | None:
        """The budget, if anybody counts what this one uses; see :func:`standings_of`."""
        query = sa.select(self._table).where(self._id == of)
        return self._transaction.session.scalar(query, execution_options={"populate_existing": True})

    def _column(self, window: Window, measure: Measure, what: str) -> InstrumentedAttribute[Any]:
        return self._of_row(f"{window}_{measure}_{what}")

    def _of_row(self, name: str) -> InstrumentedAttribute[Any]:
        return cast("InstrumentedAttribute[Any]", getattr(self._table, name))


def standings_of(row: BudgetColumns, moment: datetime) -> Standings:
    """How every limit stands at ``moment``."""
    return {place: _standing(row, *place, moment) for place in ALL}


def _starts(moment: datetime) -> dict[Window, tuple[str, date]]:
    """Window -> the name of the column of its first day in the row, and its first day at ``moment``."""
    day, month = first_days(moment)
    return {Window.DAY: ("day_start", day), Window.MONTH: ("month_start", month)}


def _standing(row: BudgetColumns, window: Window, measure: Measure, moment: datetime) -> Standing:
    limit, used = (getattr(row, f"{window}_{measure}_{what}") for what in ("limit", "used"))
    start, first = _starts(moment).get(window, ("", date.min))
    over = start and getattr(row, start) < first
    return Standing(limit, 0 if over else used, getattr(row, f"{measure}_held"))


def _first_values(limits: Limits, moment: datetime) -> dict[str, Any]:
    day, month = first_days(moment)
    counts = {f"{window}_{measure}_used": 0 for window, measure in ALL} | {f"{measure}_held": 0 for measure in Measure}
    told = {f"{window}_{measure}_limit": limit for (window, measure), limit in limits.items()}
    return counts | told | {"day_start": day, "month_start": month, "created_at": moment, "updated_at": moment}
