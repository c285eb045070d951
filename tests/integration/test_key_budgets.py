"""Budgets of API keys: they hold beside those of their owners, and never more is let in than both allow."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from domain.budgets import Amounts
from domain.errors import BudgetExceeded
from domain.generation import EndReason
from domain.ledger import Booking, EntryKind
from domain.usage import Usage
from models import BudgetEntity, KeyBudgetEntity, LedgerEntity, db
from services.charges import Charge
from services.ledger import Hold
from tests.actors import Actor, ok, refused
from tests.books import entries
from tests.chats import entry, services, told
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "100000 per minute", "DATABASE_POOL_SIZE": 20}
USED = {"prompt_tokens": 11, "completion_tokens": 7}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS)


class Program:
    """Somebody's program with a key."""

    def __init__(self, owner: Actor, **fields: Any) -> None:
        made = Actor.ok(owner.post("/api/v1/keys", {"name": "a program"} | fields), 201)
        self._client: FlaskClient = owner.client.application.test_client()
        self._headers = {"Authorization": f"Bearer {made['key']}"}
        self.owner = owner
        self.id: str = made["id"]
        self.path = f"/api/v1/keys/{self.id}/budgets"

    def call(self, method: str, path: str, body: Any = None) -> TestResponse:
        return self._client.open(path, method=method, json=body, headers=self._headers)

    def chat(self, **body: Any) -> TestResponse:
        return self.call("POST", "/api/v1/chat", {"message": told(words=5, usage=USED)} | body)

    def limit(self, **windows: Any) -> dict[str, Any]:
        return dict(ok(self.owner.put(self.path, windows)))

    def standing(self, window: str = "total") -> dict[str, Any]:
        return dict(ok(self.owner.get(self.path))[window])

    def booking(self, number: int) -> Booking:
        return Booking(self.owner.id, f"gen_{self.id}_{number}", "sees", self.id, key_budgeted=True)


def balance(app: OpenAPI, table: type[BudgetEntity | KeyBudgetEntity], of: str) -> Amounts:
    """What a budget says was used, when nothing is held."""
    with app.app_context():
        row = db.session.get_one(table, of)
        assert (row.requests_held, row.tokens_held, row.cost_held) == (0, 0, 0)
        return Amounts(row.total_requests_used, row.total_tokens_used, row.total_cost_used)


def in_the_books(app: OpenAPI, **columns: Any) -> Amounts:
    query = sa.select(
        sa.func.count(sa.distinct(LedgerEntity.generation_id)),
        sa.func.sum(LedgerEntity.prompt_tokens + LedgerEntity.completion_tokens),
        sa.func.sum(LedgerEntity.cost),
    )
    with app.app_context():
        row = db.session.execute(query.filter_by(state="settled", **columns)).one()
        return Amounts(*(int(value or 0) for value in row))


# Many at once, straight at the books


def reserve(app: OpenAPI, booking: Booking) -> Hold | None:
    ledger, unit_of_work = services(app).books.ledger, services(app).books.budgets._unit_of_work
    hold = ledger.prepare_counted(booking, "openai", "sees", 10, 20)
    try:
        with unit_of_work() as uow:
            ledger.reserve(uow, hold)
            uow.commit()
    except BudgetExceeded:
        return None
    return hold


def settle(app: OpenAPI, hold: Hold) -> None:
    charge = Charge("openai", "sees", Usage(10, 8))
    with services(app).books.budgets._unit_of_work() as uow:
        assert services(app).books.ledger.settle(uow, hold, [charge], EndReason.STOP)
        uow.commit()


def reserve_all(app: OpenAPI, bookings: Sequence[Booking]) -> list[Hold]:
    """Each in one of 20 threads, which start together."""

    def some(start: int) -> list[Hold]:
        return [hold for booking in bookings[start::20] if (hold := reserve(app, booking))]

    return [hold for held in at_once(*[lambda start=start: some(start) for start in range(20)]) for hold in held]


def settle_all(app: OpenAPI, held: Sequence[Hold]) -> None:
    calls: list[Callable[[], None]] = [
        lambda part=held[start::10]: [settle(app, hold) for hold in part] and None for start in range(10)
    ]
    at_once(*calls)


@pytest.mark.usefixtures("every_database")
def test_a_keys_budget_for_50_lets_in_50_of_200_that_come_together(app: OpenAPI, admin: Actor) -> None:
    program = Program(admin)
    program.limit(total={"requests": 50})
    ok(admin.put(f"/api/v1/users/{admin.id}/budgets", {"total": {"requests": 120}}))

    held = reserve_all(app, [program.booking(number) for number in range(200)])

    assert len(held) == 50
    assert program.standing()["requests"] == {"limit": 50, "used": 0, "held": 50, "remaining": 0}
    settle_all(app, held)
    assert balance(app, KeyBudgetEntity, program.id) == in_the_books(app, key_id=program.id) == Amounts(50, 900, 0)
    assert balance(app, BudgetEntity, admin.id) == in_the_books(app, user_id=admin.id) == Amounts(50, 900, 0)


@pytest.mark.usefixtures("every_database")
def test_two_keys_share_their_owners_budget_and_pass_none(app: OpenAPI, admin: Actor) -> None:
    programs = [Program(admin), Program(admin)]
    ok(admin.put(f"/api/v1/users/{admin.id}/budgets", {"day": {"tokens": 30 * 25}}))
    for program in programs:
        program.limit(month={"tokens": 30 * 15})

    held = reserve_all(app, [program.booking(number) for number in range(40) for program in programs])

    passed = Counter(hold.entry.key_id for hold in held)
    assert passed.total() == 25
    assert max(passed.values()) <= 15
    settle_all(app, held)
    assert balance(app, BudgetEntity, admin.id).requests == 25
    for program in programs:
        assert balance(app, KeyBudgetEntity, program.id) == in_the_books(app, key_id=program.id)


@pytest.mark.parametrize("kind", EntryKind)
def test_all_that_a_client_asks_for_is_a_request(app: OpenAPI, admin: Actor, kind: EntryKind) -> None:
    program = Program(admin)
    program.limit(total={"tokens": 1000})
    held = reserve(app, Booking(admin.id, "gen_1", "sees", program.id, key_budgeted=True, kind=kind))
    assert held is not None
    settle(app, held)

    assert balance(app, KeyBudgetEntity, program.id).requests == (kind is not EntryKind.TITLE)


# Over the API


@pytest.mark.usefixtures("every_database")
def test_a_turn_is_held_and_counted_in_the_keys_budget(app: OpenAPI, admin: Actor) -> None:
    program, other = Program(admin), Program(admin)
    assert program.limit(total={"requests": 1}, day={"tokens": 10_000})["key_id"] == program.id
    ok(program.chat())

    error = refused(program.chat(), 429, "budget_exceeded")["error"]

    assert "API key's budget of requests" in error
    assert program.standing()["requests"] == {"limit": 1, "used": 1, "held": 0, "remaining": 0}
    assert program.standing("day")["tokens"]["used"] == 18
    ok(other.chat())
    ok(admin.post("/api/v1/chat", {"message": "hello"}))
    assert [row.key_id for row in entries(app)] == [program.id, other.id, None]
    assert [row.key_budgeted for row in entries(app)] == [True, False, False]


def test_budgets_of_keys_are_set_seen_and_taken_away(app: OpenAPI, admin: Actor, user: Actor) -> None:
    program = Program(user)
    assert ok(user.get(program.path))["since"] is None
    refused(user.delete(program.path), 404, "budget_not_found")

    program.limit(day={"requests": 0})
    refused(program.chat(), 429, "budget_exceeded")
    assert ok(admin.get(program.path))["day"]["requests"]["limit"] == 0
    ok(admin.put(program.path, {"day": {"requests": 5}}))
    ok(program.chat())
    ok(user.delete(program.path))
    ok(program.chat())

    standing = ok(user.get(program.path))["day"]["requests"]
    assert standing == {"limit": None, "used": 2, "held": 0, "remaining": None}


def test_a_key_with_a_budget_makes_nothing_that_is_worth_more(app: OpenAPI, admin: Actor, user: Actor) -> None:
    program, other = Program(user, scopes=["manage", "chat"]), Program(user)
    program.limit(total={"requests": 1})

    refused(program.call("PUT", program.path, {}), 403, "exceeds_own_key")
    refused(program.call("DELETE", program.path), 403, "exceeds_own_key")
    refused(program.call("PUT", other.path, {}), 403, "exceeds_own_key")
    refused(program.call("POST", "/api/v1/keys", {"name": "more"}), 403, "exceeds_own_key")
    assert program.standing()["requests"]["limit"] == 1


def test_a_budget_goes_with_its_user(app: OpenAPI, admin: Actor, user: Actor) -> None:
    program = Program(user)
    program.limit(total={"requests": 1})

    ok(admin.delete(f"/api/v1/users/{user.id}"))

    with app.app_context():
        assert db.session.get(KeyBudgetEntity, program.id) is None
