"""What models cost: set by the file or by administrators, and what turns cost by that."""

from pathlib import Path
from typing import Any

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, ok, refused, set_up
from tests.books import entries
from tests.chats import begin, chat, entry, eventually, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "100000 per minute", "RATE_LIMIT_CHAT": "100000 per minute"}
USED = {"prompt_tokens": 1000, "completion_tokens": 50}
SEES = {"provider": "openai", "model": "sees"}
PRICE = SEES | {"input": "2.5", "cached_input": 1.25, "output": 10}
FILE = "prices:\n  openai/sees: {input: 2.5, output: 10}\n"
pytestmark = pytest.mark.usefixtures("every_database")


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS)


def prices(admin: Actor) -> dict[str, dict[str, Any]]:
    items = ok(admin.get("/api/v1/prices"))["items"]
    return {f"{item['provider']}/{item['model']}": item for item in items}


def costs(app: OpenAPI) -> list[int]:
    return [row.cost for row in entries(app)]


def test_a_turn_costs_what_its_model_costs(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/prices", PRICE))
    chat(admin, told(words=5, usage=USED))

    (row,) = entries(app)
    assert row.cost == 1000 * 2500 + 50 * 10_000
    assert (row.input_price, row.cached_price, row.output_price) == (2_500_000, 1_250_000, 10_000_000)
    assert row.reasoning_price == 10_000_000
    assert row.held_cost == (row.held_tokens - 500) * 2500 + 500 * 10_000


def test_a_model_without_a_price_costs_nothing_and_that_is_seen(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=5, usage=USED))

    assert prices(admin)["openai/sees"] | SEES == {
        **SEES,
        **dict.fromkeys(["input", "output", "cached_input", "reasoning", "image"]),
        "source": "none",
        "locked": False,
    }
    (row,) = entries(app)
    assert (row.cost, row.input_price) == (0, None)


def test_the_price_at_a_turns_beginning_holds_to_its_end(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/prices", SEES | {"input": 1, "output": 1}))
    begun = begin(admin, told(words=5, first_token_ms=500, usage=USED))
    ok(admin.put("/api/v1/prices", SEES | {"input": 100, "output": 100}))
    begun.events()
    chat(admin, told(words=5, usage=USED))

    assert costs(app) == [1050 * 1000, 1050 * 100_000]


def test_a_price_can_be_changed_and_taken_away(app: OpenAPI, admin: Actor) -> None:
    first = ok(admin.put("/api/v1/prices", PRICE | {"reasoning": 20, "image": 40}))
    assert (first["input"], first["cached_input"], first["output"]) == ("2.5", "1.25", "10")
    assert (first["reasoning"], first["image"], first["source"]) == ("20", "40", "admin")
    second = ok(admin.put("/api/v1/prices", SEES | {"input": "0.15", "output": "0.6"}))
    assert (second["cached_input"], second["reasoning"], second["image"]) == ("0.15", "0.6", "0")
    assert prices(admin)["openai/sees"] == second

    ok(admin.delete("/api/v1/prices?provider=openai&model=sees"))
    assert prices(admin)["openai/sees"]["source"] == "none"
    refused(admin.delete("/api/v1/prices?provider=openai&model=sees"), 404, "price_not_found")
    chat(admin, told(words=5, usage=USED))
    assert costs(app) == [0]


def test_models_that_differ_by_case_have_prices_of_their_own(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/prices", {"provider": "openai", "model": "Org/Ünï", "input": 1, "output": 1}))
    ok(admin.put("/api/v1/prices", {"provider": "openai", "model": "org/üni", "input": 2, "output": 1}))

    assert (prices(admin)["openai/Org/Ünï"]["input"], prices(admin)["openai/org/üni"]["input"]) == ("1", "2")


def test_what_the_file_sets_stands(make_app: AppFactory, provider: ScriptedProvider, tmp_path: Path) -> None:
    other = make_app({"openai": entry(provider)}, **SETTINGS)
    admin = set_up(other)
    ok(admin.put("/api/v1/prices", SEES | {"input": 1, "output": 1}))
    (tmp_path / "ai.yaml").write_text(FILE)
    app = make_app({"openai": entry(provider)}, AI_PROVIDERS_FILE=str(tmp_path / "ai.yaml"), **SETTINGS)
    admin = Actor(app, admin.tokens)

    shown = prices(admin)["openai/sees"]
    assert (shown["input"], shown["source"], shown["locked"]) == ("2.5", "file", True)
    refused(admin.put("/api/v1/prices", PRICE), 409, "price_locked")
    refused(admin.delete("/api/v1/prices?provider=openai&model=sees"), 409, "price_locked")
    chat(admin, told(words=5, usage=USED))
    assert costs(app) == [1000 * 2500 + 50 * 10_000]


def test_another_node_learns_of_a_price(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    book = services(make_app({"openai": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}})).books.prices._book
    assert book.current() == {}

    ok(admin.put("/api/v1/prices", PRICE))

    eventually(lambda: ("openai", "sees") in book.current(), seconds=20)


@pytest.mark.parametrize(
    "wrong",
    [{"input": -1}, {"input": "1.0000001"}, {"output": None}, {"output": "much"}, {"provider": "é"}, {"model": ""}],
)
def test_wrong_prices_are_refused(admin: Actor, wrong: dict[str, Any]) -> None:
    refused(admin.put("/api/v1/prices", PRICE | wrong), 422, "invalid_request")


def test_prices_are_for_administrators(user: Actor) -> None:
    refused(user.get("/api/v1/prices"), 403, "permission_denied")
    refused(user.put("/api/v1/prices", PRICE), 403, "permission_denied")
    refused(user.delete("/api/v1/prices?provider=openai&model=sees"), 403, "permission_denied")
