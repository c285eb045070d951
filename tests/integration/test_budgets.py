"""Budgets: held before a turn begins, counted when it ends, never passed by turns that come together."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.budgets import Amounts, Measure, Window
from domain.generation import EndReason
from domain.usage import Usage
from models import BudgetEntity, LedgerEntity, db
from repositories.budget_repository import standings_of
from repositories.unit_of_work import OpenUnitOfWork
from services.charges import Charge
from tests.actors import Actor, add_user, ok, refused
from tests.books import entries
from tests.chats import begin, chat, entry, eventually, let_lease_run_out, services, told
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {
    "AUTO_TITLE": False,
    "RATE_LIMIT": "100000 per minute",
    "RATE_LIMIT_CHAT": "100000 per minute",
    "MAX_STREAMS_PER_USER": 1000,
    "DATABASE_POOL_SIZE": 30,
}
USED = {"prompt_tokens": 11, "completion_tokens": 7}
LONG = {"words": 400, "pace_ms": 10}
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("every_database")


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS)


@pytest.fixture
def unit_of_work(app: OpenAPI) -> OpenUnitOfWork:
    return services(app).books.budgets._unit_of_work


def limit(admin: Actor, user_id: str, **windows: dict[str, Any]) -> dict[str, Any]:
    return dict(ok(admin.put(f"/api/v1/users/{user_id}/budgets", windows)))


def standing(admin: Actor, user_id: str, window: str = "total") -> dict[str, Any]:
    return dict(ok(admin.get(f"/api/v1/users/{user_id}/budgets"))[window])


def check_balance(app: OpenAPI, user_id: str) -> Amounts:
    """What the budget says was used is what the ledger says, and nothing is held; the amounts."""
    rows = [row for kind in ("chat", "title") for row in entries(app, kind, user_id=user_id, budgeted=True)]
    settled = [row for row in rows if row.state == "settled"]
    turns = {row.generation_id for row in settled if row.kind == "chat"}
    tokens = sum((row.prompt_tokens or 0) + (row.completion_tokens or 0) for row in settled)
    used = Amounts(len(turns), tokens, sum(row.cost for row in settled))
    with app.app_context():
        budget = db.session.get_one(BudgetEntity, user_id)
        columns = sa.inspect(BudgetEntity).columns.keys()
        assert all(getattr(budget, name) >= 0 for name in columns if name.endswith(("_held", "_used")))
        assert (budget.requests_held, budget.tokens_held, budget.cost_held) == (0, 0, 0)
        assert Amounts(budget.total_requests_used, budget.total_tokens_used, budget.total_cost_used) == used
    assert {row.state for row in rows} <= {"settled", "released"}
    return used


# Held, counted, given back


def test_a_turn_is_held_while_it_runs_and_counted_when_it_ends(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/prices", {"provider": "openai", "model": "sees", "input": 1, "output": 2}))
    limit(admin, admin.id, total={"requests": 10, "tokens": 10_000, "cost_usd": "1"})
    begun = begin(admin, told(words=5, first_token_ms=400, usage=USED))
    (row,) = entries(app)

    during = standing(admin, admin.id)
    assert during["requests"] == {"limit": 10, "used": 0, "held": 1, "remaining": 9}
    assert during["tokens"]["held"] == row.held_tokens
    assert during["cost_usd"]["held"] == f"{row.held_cost / 10**9:.9f}".rstrip("0")

    begun.events()
    after = standing(admin, admin.id)
    assert after["requests"] == {"limit": 10, "used": 1, "held": 0, "remaining": 9}
    assert after["tokens"] == {"limit": 10_000, "used": 18, "held": 0, "remaining": 9982}
    assert after["cost_usd"] == {"limit": "1", "used": "0.000025", "held": "0", "remaining": "0.999975"}
    assert check_balance(app, admin.id) == Amounts(1, 18, 25_000)


def test_a_turn_that_used_nothing_is_given_back(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    limit(admin, admin.id, day={"requests": 1})
    provider.script(status=401)
    assert admin.post("/api/v1/chat", {"message": "hello"}).status_code == 502
    begun = begin(admin, told(words=5, first_token_ms=60_000))
    refused(admin.post("/api/v1/chat", {"message": "hello"}), 429, "budget_exceeded")
    ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))

    chat(admin, "now there is room")

    assert check_balance(app, admin.id).requests == 1


def test_all_attempts_of_a_turn_count(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    limit(admin, admin.id, total={"tokens": 10_000})
    text = "Whether I shall turn out to be the hero of my own life, these pages must show."
    provider.script({"text": text, "fault": "cut", "fraction": 0.5}, {"text": text, "usage": USED})
    chat(admin, "hello")

    used = check_balance(app, admin.id)
    assert used.requests == 1
    assert used.tokens > 18


def test_what_dies_is_given_back_too(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    limit(admin, admin.id, total={"requests": 10})
    written, silent = begin(admin, told(**LONG)), begin(admin, told(words=5, first_token_ms=60_000))
    written.read_until("content")
    services(app).keeper.tick(all_duties=True)
    for begun in (written, silent):
        let_lease_run_out(app, begun.generation_id)

    services(make_app()).keeper.tick(all_duties=True)

    assert check_balance(app, admin.id).requests == 1
    services(app).runner.drain(0)
    assert check_balance(app, admin.id).requests == 1


def test_titles_cost_tokens_and_are_no_turns(make_app: AppFactory, provider: ScriptedProvider) -> None:
    from tests.actors import set_up

    app = make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True})
    admin = set_up(app)
    limit(admin, admin.id, total={"requests": 1, "tokens": 10_000})
    provider.script({"text": "Everest.", "usage": USED}, {"text": "The Highest Mountain", "usage": USED})
    chat(admin, "What is the tallest mountain?")
    eventually(lambda: entries(app, "title", state="settled"))

    assert check_balance(app, admin.id) == Amounts(1, 36, 0)


# Refused


@pytest.mark.parametrize("measure", ["requests", "tokens", "cost_usd"])
@pytest.mark.parametrize("window", ["day", "month", "total"])
def test_a_turn_over_a_budget_is_refused_and_leaves_nothing(
    app: OpenAPI, admin: Actor, window: str, measure: str
) -> None:
    ok(admin.put("/api/v1/prices", {"provider": "openai", "model": "sees", "input": 1, "output": 1}))
    limit(admin, admin.id, **{window: {measure: 0}})

    response = admin.post("/api/v1/chat", {"message": "hello"})

    error = refused(response, 429, "budget_exceeded")["error"]
    assert ("USD" if measure == "cost_usd" else measure) in error
    assert {"day": "per day", "month": "per month", "total": "in total"}[window] in error
    wait = response.headers.get("Retry-After")
    most = {"day": 86_400, "month": 31 * 86_400}
    assert (wait is None) if window == "total" else (0 < int(wait or 0) <= most[window])
    assert ok(admin.get("/api/v1/sessions"))["items"] == []
    assert entries(app) == []
    assert standing(admin, admin.id, window)["requests"]["held"] == 0


def test_what_is_left_is_enough_or_it_is_not(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=5, usage=USED))
    most = entries(app)[0].held_tokens
    limit(admin, admin.id, total={"tokens": most - 1})
    refused(admin.post("/api/v1/chat", {"message": told(words=5, usage=USED)}), 429, "budget_exceeded")

    limit(admin, admin.id, total={"tokens": most})
    chat(admin, told(words=5, usage=USED))

    refused(admin.post("/api/v1/chat", {"message": told(words=5, usage=USED)}), 429, "budget_exceeded")
    chat(admin, told(words=5, usage=USED), config={"max_tokens": 400})  # a shorter answer fits what is left


def test_who_has_no_budget_is_not_counted(app: OpenAPI, admin: Actor, user: Actor) -> None:
    limit(admin, user.id, total={"requests": 0})
    chat(admin, "hello")

    assert not entries(app)[0].budgeted
    shown = ok(admin.get(f"/api/v1/users/{admin.id}/budgets"))
    assert shown["since"] is None
    assert shown["day"]["requests"] == {"limit": None, "used": 0, "held": 0, "remaining": None}


# Set and taken away


def test_a_new_limit_keeps_what_was_counted(app: OpenAPI, admin: Actor) -> None:
    since = limit(admin, admin.id, day={"requests": 5, "tokens": 100_000}, month={"cost_usd": 3})["since"]
    chat(admin, told(words=5, usage=USED))

    changed = limit(admin, admin.id, day={"requests": 7})

    assert changed["since"] == since
    assert changed["day"]["requests"] == {"limit": 7, "used": 1, "held": 0, "remaining": 6}
    assert changed["day"]["tokens"] == {"limit": None, "used": 18, "held": 0, "remaining": None}
    assert changed["month"]["cost_usd"]["limit"] is None


def test_a_budget_that_comes_or_goes_during_a_turn_holds_nothing_for_ever(app: OpenAPI, admin: Actor) -> None:
    before = begin(admin, told(words=5, first_token_ms=300, usage=USED))
    limit(admin, admin.id, total={"requests": 5})
    during = begin(admin, told(words=5, first_token_ms=300, usage=USED))
    ok(admin.delete(f"/api/v1/users/{admin.id}/budgets"))
    limit(admin, admin.id, total={"requests": 5})
    for begun in (before, during):
        begun.events()

    assert check_balance(app, admin.id) == Amounts(1, 18, 0)


def test_without_limits_everything_is_allowed_again(app: OpenAPI, admin: Actor) -> None:
    path = f"/api/v1/users/{admin.id}/budgets"
    refused(admin.delete(path), 404, "budget_not_found")
    limit(admin, admin.id, total={"requests": 0})
    refused(admin.post("/api/v1/chat", {"message": "hello"}), 429, "budget_exceeded")

    ok(admin.delete(path))

    chat(admin, "hello")
    assert check_balance(app, admin.id).requests == 1


def test_a_budget_goes_with_its_user(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")
    limit(admin, grace.id, total={"requests": 5})
    running = begin(grace, told(**LONG))
    running.read_until("content")

    ok(admin.delete(f"/api/v1/users/{grace.id}"))
    services(app).keeper.tick(all_duties=True)

    eventually(lambda: not services(app).runner.all())
    assert [row.state for row in entries(app)] == ["settled"]
    refused(admin.get(f"/api/v1/users/{grace.id}/budgets"), 404, "user_not_found")
    refused(admin.put(f"/api/v1/users/{grace.id}/budgets", {}), 404, "user_not_found")


@pytest.mark.parametrize(
    "wrong", [{"requests": -1}, {"request": 5}, {"tokens": 1.5}, {"cost_usd": "much"}, {"cost_usd": "0.0000000001"}]
)
def test_wrong_limits_are_refused(admin: Actor, wrong: dict[str, Any]) -> None:
    refused(admin.put(f"/api/v1/users/{admin.id}/budgets", {"day": wrong}), 422, "invalid_request")


def test_budgets_are_set_by_administrators(admin: Actor, user: Actor) -> None:
    for path in (f"/api/v1/users/{user.id}/budgets", f"/api/v1/users/{admin.id}/budgets"):
        refused(user.get(path), 403, "permission_denied")
        refused(user.put(path, {}), 403, "permission_denied")
        refused(user.delete(path), 403, "permission_denied")


# Windows


def test_a_window_begins_with_nothing_used(unit_of_work: OpenUnitOfWork, admin: Actor) -> None:
    one = Amounts(1, 0, 0)

    def held_at(moment: datetime) -> bool:
        with unit_of_work() as uow:
            done = uow.budgets.hold(admin.id, one, moment)
            if done:
                uow.budgets.settle(admin.id, one, one, moment)
            uow.commit()
        return done

    def used_at(moment: datetime) -> list[int]:
        with unit_of_work(writes=False) as uow:
            row = uow.budgets.get(admin.id)
            assert row is not None
            standings = standings_of(row, moment)
        return [standings[window, Measure.REQUESTS].used for window in Window]

    with unit_of_work() as uow:
        limits = {(Window.DAY, Measure.REQUESTS): 2, (Window.MONTH, Measure.REQUESTS): 3}
        uow.budgets.limit(admin.id, limits, NOON - timedelta(days=1))
        uow.commit()
    yesterday, tomorrow = NOON - timedelta(days=1), NOON + timedelta(days=1)  # tomorrow is another month
    assert [held_at(yesterday) for _ in range(3)] == [True, True, False]
    assert [held_at(NOON) for _ in range(2)] == [True, False]  # the day has room, the month has not
    assert used_at(NOON) == [1, 3, 3]
    assert used_at(tomorrow) == [0, 0, 3]
    assert [held_at(tomorrow) for _ in range(3)] == [True, True, False]
    assert used_at(tomorrow) == [2, 2, 5]


def test_a_turn_counts_in_the_window_in_which_it_ends(unit_of_work: OpenUnitOfWork, admin: Actor) -> None:
    midnight = NOON.replace(hour=0) + timedelta(days=1)
    before, after = midnight - timedelta(seconds=1), midnight + timedelta(seconds=1)
    turn = Amounts(1, 100, 5)
    with unit_of_work() as uow:
        uow.budgets.limit(admin.id, {(Window.DAY, Measure.TOKENS): 150}, before)
        assert uow.budgets.hold(admin.id, turn, before)
        assert not uow.budgets.hold(admin.id, turn, after)  # it is still held
        uow.budgets.settle(admin.id, turn, Amounts(1, 60, 3), after)
        uow.budgets.settle(admin.id, Amounts(), Amounts(1, 10, 1), before)  # by a node whose clock is slow
        row = uow.budgets.get(admin.id)
        assert row is not None
        uow.commit()

    assert (row.day_start, row.month_start) == (midnight.date(), midnight.date())
    assert (row.day_requests_used, row.day_tokens_used, row.day_cost_used) == (2, 70, 4)
    assert (row.requests_held, row.tokens_held, row.cost_held) == (0, 0, 0)


# All at once


def test_of_200_turns_at_once_those_pass_that_the_budget_covers(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    limit(admin, admin.id, total={"requests": 50})
    statuses = at_once(*[_many_turns(app, admin, 5)] * 40)

    counted = Counter(status for some in statuses for status in some)
    assert counted == {200: 50, 429: 150}
    assert check_balance(app, admin.id).requests == 50
    assert len(provider.log()) == 50
    assert len(entries(app)) == 50


def test_of_turns_at_once_no_token_is_spent_twice(app: OpenAPI, admin: Actor) -> None:
    chat(admin, _turn())
    most = entries(app)[0].held_tokens
    limit(admin, admin.id, day={"tokens": 5 * most}, total={"requests": 1000})

    statuses = at_once(*[_many_turns(app, admin, 3)] * 10)

    passed = Counter(status for some in statuses for status in some)[200]
    used = check_balance(app, admin.id)
    assert used == Amounts(passed, 18 * passed, 0)
    assert passed >= 5
    assert used.tokens <= 5 * most


def test_turns_that_are_stopped_at_random_leave_the_balance_right(app: OpenAPI, admin: Actor) -> None:
    limit(admin, admin.id, total={"requests": 30})

    def turns() -> None:
        actor = Actor(app, admin.tokens)
        for number in range(4):
            response = actor.post("/api/v1/chat/stream", {"message": told(words=30, pace_ms=5, first_token_ms=20)})
            if response.status_code == 200 and number % 2:
                actor.post("/api/v1/chat/stop", {"generation_id": response.headers["X-Generation-Id"]})
            elif response.status_code == 200 and number:
                actor.delete(f"/api/v1/sessions/{response.headers['X-Session-Id']}")
            response.close()

    at_once(*[turns] * 12)
    eventually(lambda: not services(app).runner.all(), seconds=60)

    assert check_balance(app, admin.id).requests <= 30
    with app.app_context():
        twice = sa.select(LedgerEntity.generation_id).group_by(LedgerEntity.generation_id, LedgerEntity.attempt)
        assert db.session.execute(twice.having(sa.func.count() > 1)).all() == []


def test_of_ends_at_once_one_settles(app: OpenAPI, admin: Actor) -> None:
    limit(admin, admin.id, total={"requests": 10})
    begun = begin(admin, told(words=5, first_token_ms=60_000))
    (live,) = services(app).runner.all()
    charges = [Charge("openai", "sees", Usage(10, 5), answers=False), Charge("openai", "sees", Usage(10, 6))]
    ledger, unit_of_work = services(app).books.ledger, services(app).books.budgets._unit_of_work

    def settle() -> bool:
        with unit_of_work() as uow:
            settled = ledger.settle(uow, live.turn.hold, charges, EndReason.STOP)
            uow.commit()
        return settled

    assert sum(at_once(*[settle] * 8)) == 1
    ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))

    assert [(row.attempt, row.completion_tokens) for row in entries(app)] == [(1, 5), (2, 6)]
    assert check_balance(app, admin.id) == Amounts(1, 31, 0)


def _turn() -> str:
    return told(words=5, usage=USED)


def _many_turns(app: OpenAPI, admin: Actor, count: int) -> Callable[[], list[int]]:
    """So many turns, one after the other; their statuses. What the database could not take is tried again."""

    def turns() -> list[int]:
        actor, statuses = Actor(app, admin.tokens), list[int]()
        while len(statuses) < count:
            status = actor.post("/api/v1/chat", {"message": _turn()}).status_code
            if status != 503:
                statuses.append(status)
        return statuses

    return turns
