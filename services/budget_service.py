"""Budgets: those of users are set by administrators, those of API keys also by their owners."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from domain.budgets import Amounts, Limits, Measure, Standing, Standings, Window
from domain.clock import now
from domain.errors import BudgetExceeded, NotFound, PermissionDenied
from domain.money import amount_in_usd
from domain.principal import Principal
from models import ApiKeyEntity
from repositories.budget_repository import BudgetRepository, standings_of
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BudgetView:
    """How the limits of a user, or of a key, stand; ``of`` is its id.

    ``since``: when counting began; None where nobody counts, and nothing is limited.
    """

    of: str
    since: datetime | None
    standings: Standings


class BudgetService:
    """Sets and shows budgets. ``forget`` is called with the id of a key whose grant has changed."""

    def __init__(self, unit_of_work: OpenUnitOfWork, forget: Callable[[str], None]) -> None:
        self._unit_of_work = unit_of_work
        self._forget = forget

    def own(self, principal: Principal) -> BudgetView:
        """How the caller's own limits stand."""
        with self._unit_of_work(writes=False) as uow:
            return _view(uow.budgets, principal.user_id)

    def get(self, principal: Principal, user_id: str) -> BudgetView:
        """How a user's limits stand. Raises NotFound."""
        principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            _check_user(uow, user_id)
            return _view(uow.budgets, user_id)

    def put(self, principal: Principal, user_id: str, limits: Limits) -> BudgetView:
        """Set all limits of a user anew; those that are left out are none. Raises NotFound.

        Counting begins with the first limit that a user ever gets, and goes on when the last one goes.
        """
        principal.require_admin()
        with self._unit_of_work() as uow:
            _check_user(uow, user_id)
            uow.budgets.limit(user_id, limits, now())
            view = _view(uow.budgets, user_id)
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

    def of_key(self, principal: Principal, key_id: str) -> BudgetView:
        """How the limits of an API key of the caller's stand; for administrators, of any. Raises NotFound."""
        with self._unit_of_work(writes=False) as uow:
            _found_key(uow.api_keys.get(key_id, _owner(principal)))
            return _view(uow.key_budgets, key_id)

    def put_of_key(self, principal: Principal, key_id: str, limits: Limits) -> BudgetView:
        """Set all limits of a key anew, as those of a user. They narrow what its owner may use, and hold beside that.

        Raises NotFound, and PermissionDenied for a key with a budget: two budgets allow more than one. In effect on
        all nodes within 5 s.
        """
        _check_free(principal)
        with self._unit_of_work() as uow:
            key = _found_key(uow.api_keys.lock(key_id, _owner(principal)))
            key.budgeted, key.updated_at = True, now()
            uow.key_budgets.limit(key_id, limits, now())
            view = _view(uow.key_budgets, key_id)
            uow.after_commit(lambda: self._forget(key_id))
            uow.commit()
        log.info("key_budgets_set", key_id=key_id, by=principal.user_id)
        return view

    def clear_of_key(self, principal: Principal, key_id: str) -> None:
        """Take all limits of a key away. Raises NotFound, also for one that never had any, and PermissionDenied."""
        _check_free(principal)
        with self._unit_of_work() as uow:
            _found_key(uow.api_keys.lock(key_id, _owner(principal)))
            if not uow.key_budgets.exists(key_id):
                raise NotFound("This API key has no budgets.", "budget_not_found")
            uow.key_budgets.limit(key_id, {}, now())
            uow.commit()
        log.info("key_budgets_cleared", key_id=key_id, by=principal.user_id)


def refusal(standings: Standings, most: Amounts, moment: datetime, *, of_key: bool) -> BudgetExceeded:
    """The error for a turn that may use ``most``, which a budget that stands so does not allow: a user's, or a key's.

    It names the limit that stays passed longest.
    """
    passed = [
        (window, measure, standing)
        for (window, measure), standing in standings.items()
        if standing.remaining is not None and standing.remaining < getattr(most, measure)
    ]
    if not passed:
        return BudgetExceeded("The budget does not allow for this turn.", retry_after=1)  # it was lifted just now
    window, measure, standing = max(passed, key=lambda place: list(Window).index(place[0]))
    end = window.end(moment)
    whose = "API key's " if of_key else ""
    message = (
        f"The {whose}budget of {_NAMES[measure]} ({_PERIODS[window]}) does not cover this turn: it may use up to "
        f"{_shown(measure, getattr(most, measure))}, and {_shown(measure, standing.remaining or 0)} is left."
    )
    return BudgetExceeded(message, retry_after=None if end is None else (end - moment).total_seconds())


_NAMES = {Measure.REQUESTS: "requests", Measure.TOKENS: "tokens", Measure.COST: "USD"}
_PERIODS = {Window.DAY: "per day", Window.MONTH: "per month", Window.TOTAL: "in total"}


def _shown(measure: Measure, amount: int) -> str:
    return amount_in_usd(amount) if measure is Measure.COST else f"{amount:,}"


def _view(budgets: BudgetRepository[Any], of: str) -> BudgetView:
    row = budgets.get(of)
    if row is None:
        nothing = Standing(None, 0, 0)
        return BudgetView(of, None, {(window, measure): nothing for window in Window for measure in Measure})
    return BudgetView(of, row.created_at, standings_of(row, now()))


def _check_user(uow: UnitOfWork, user_id: str) -> None:
    if uow.users.get(user_id) is None:
        raise NotFound("There is no such user.", "user_not_found")


def _owner(principal: Principal) -> str | None:
    """Whose keys the caller may touch; None for everybody's."""
    return None if principal.is_admin else principal.user_id


def _found_key(key: ApiKeyEntity | None) -> ApiKeyEntity:
    if key is None:
        raise NotFound("There is no such API key.", "key_not_found")
    return key


def _check_free(principal: Principal) -> None:
    if principal.key is not None and principal.key.budgeted:
        raise PermissionDenied("An API key with a budget sets no budgets of keys.", "exceeds_own_key")
