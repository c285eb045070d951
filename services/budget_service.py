"""Budgets: set by administrators, seen by their users too."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from domain.budgets import Amounts, Limits, Measure, Standing, Standings, Window
from domain.clock import now
from domain.errors import BudgetExceeded, NotFound
from domain.money import amount_in_usd
from domain.principal import Principal
from models import BudgetEntity
from repositories.budget_repository import standings_of
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BudgetView:
    """How a user's limits stand. ``since``: when counting began; None where nobody counts, and nothing is limited."""

    user_id: str
    since: datetime | None
    standings: Standings


class BudgetService:
    """Sets and shows budgets."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    def own(self, principal: Principal) -> BudgetView:
        """How the caller's own limits stand."""
        with self._unit_of_work(writes=False) as uow:
            return _view(uow, principal.user_id)

    def get(self, principal: Principal, user_id: str) -> BudgetView:
        """How a user's limits stand. Raises NotFound."""
        principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            _check_user(uow, user_id)
            return _view(uow, user_id)

    def put(self, principal: Principal, user_id: str, limits: Limits) -> BudgetView:
        """Set all limits of a user anew; those that are left out are none. Raises NotFound.

        Counting begins with the first limit that a user ever gets, and goes on when the last one goes.
        """
        principal.require_admin()
        with self._unit_of_work() as uow:
            _check_user(uow, user_id)
            uow.budgets.limit(user_id, limits, now())
            view = _view(uow, user_id)
            uow.commit()
        log.info("budgets_set", user_id=user_id, by=principal.user_id)
        return view

    def clear(self, principal: Principal, user_id: str) -> None:
        """Take all limits of a user away. Raises NotFound, also for a user who never had any."""
        principal.require_admin()
        with self._unit_of_work() as uow:
            _check_user(uow, user_id)
            if not uow.budgets.exists(user_id):
                raise NotFound("This user has no budgets.", "budget_not_found")
            uow.budgets.limit(user_id, {}, now())
            uow.commit()
        log.info("budgets_cleared", user_id=user_id, by=principal.user_id)


def refusal(budget: BudgetEntity | None, most: Amounts, moment: datetime) -> BudgetExceeded:
    """The error for a turn that may use ``most``, which the budget does not allow.

    It names the limit that stays passed longest.
    """
    passed = [
        (window, measure, standing)
        for (window, measure), standing in (standings_of(budget, moment) if budget else {}).items()
        if standing.remaining is not None and standing.remaining < getattr(most, measure)
    ]
    if not passed:
        return BudgetExceeded("The budget does not allow for this turn.", retry_after=1)  # it was lifted just now
    window, measure, standing = max(passed, key=lambda place: list(Window).index(place[0]))
    end = window.end(moment)
    message = (
        f"The budget of {_NAMES[measure]} ({_PERIODS[window]}) does not cover this turn: it may use up to "
        f"{_shown(measure, getattr(most, measure))}, and {_shown(measure, standing.remaining or 0)} is left."
    )
    return BudgetExceeded(message, retry_after=None if end is None else (end - moment).total_seconds())


_NAMES = {Measure.REQUESTS: "requests", Measure.TOKENS: "tokens", Measure.COST: "USD"}
_PERIODS = {Window.DAY: "per day", Window.MONTH: "per month", Window.TOTAL: "in total"}


def _shown(measure: Measure, amount: int) -> str:
    return amount_in_usd(amount) if measure is Measure.COST else f"{amount:,}"


def _view(uow: UnitOfWork, user_id: str) -> BudgetView:
    row = uow.budgets.get(user_id)
    if row is None:
        nothing = Standing(None, 0, 0)
        return BudgetView(user_id, None, {(window, measure): nothing for window in Window for measure in Measure})
    return BudgetView(user_id, row.created_at, standings_of(row, now()))


def _check_user(uow: UnitOfWork, user_id: str) -> None:
    if uow.users.get(user_id) is None:
        raise NotFound("There is no such user.", "user_not_found")
