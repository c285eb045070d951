"""Turns of the native API by a key with limits: let in or not before anything is stored, settled when they end."""

from collections.abc import Callable

import pytest
from flask_openapi import OpenAPI

from domain.api_keys import KeyGrant, KeyLimits
from domain.errors import AppError, Conflict, LimitExceeded
from domain.messages import Text
from domain.principal import Principal, Role
from services.chat_service import Asked
from services.generation_runner import Live
from services.session_service import SessionSettings
from tests.actors import Actor
from tests.books import entries
from tests.chats import entry, eventually, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

USED = {"prompt_tokens": 11, "completion_tokens": 7}
LONG = {"words": 400, "pace_ms": 10}
Send = Callable[..., Live]


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, AUTO_TITLE=False)


def key(**limits: int) -> KeyGrant:
    return KeyGrant("key_1", frozenset(), limits=KeyLimits(**limits))


@pytest.fixture
def send(app: OpenAPI, admin: Actor) -> Send:
    """Sends a message with a key."""

    def send(grant: KeyGrant, message: str, session_id: str | None = None, max_tokens: int = 50) -> Live:
        caller = Principal(admin.id, "root", Role.ADMIN, grant.id, grant)
        asked = Asked(settings=SessionSettings(max_tokens=max_tokens))
        live = services(app).chat.send(caller, session_id, [Text(message)], asked).live
        assert live is not None
        return live

    return send


def used(app: OpenAPI, grant: KeyGrant) -> tuple[int, int]:
    standing = services(app).key_limiter.standing(grant)
    assert standing.requests is not None
    assert standing.tokens is not None
    return standing.requests.used, standing.tokens.used


GRANT = key(requests_per_minute=5, tokens_per_minute=200, parallel_requests=1)


def test_a_turn_holds_the_most_that_it_may_use_and_counts_what_it_used(app: OpenAPI, send: Send) -> None:
    live = send(GRANT, told(words=5, first_token_ms=300, usage=USED))
    requests, tokens = used(app, GRANT)
    assert requests == 1
    assert tokens > 50

    with pytest.raises(LimitExceeded) as caught:
        send(GRANT, told(words=1))
    assert caught.value.error_code == "key_parallel_limited"
    live.finished.wait()

    assert used(app, GRANT) == (1, 18)
    assert [row.key_id for row in entries(app)] == ["key_1"]


@pytest.mark.parametrize("script", [{"status": 400}, {"words": 30, "fault": "cut", "after": 5}])
def test_a_turn_that_fails_counts_what_it_has_used(app: OpenAPI, send: Send, script: dict[str, object]) -> None:
    live = send(GRANT, told(**script))
    live.finished.wait()

    assert live.error is not None
    settled = sum((row.prompt_tokens or 0) + (row.completion_tokens or 0) for row in entries(app, state="settled"))
    assert used(app, GRANT) == (1, settled)


def test_a_turn_that_is_stopped_frees_its_slot(app: OpenAPI, send: Send) -> None:
    live = send(GRANT, told(**LONG))
    eventually(lambda: live.answer.size > 20)
    services(app).runner.stop(live.turn.generation_id)

    assert 0 < used(app, GRANT)[1] < 60
    send(GRANT, told(words=1)).finished.wait()


@pytest.mark.parametrize("grant", [key(requests_per_minute=1), key(tokens_per_minute=20), key(parallel_requests=0)])
def test_what_is_refused_is_not_stored(app: OpenAPI, send: Send, grant: KeyGrant, provider: ScriptedProvider) -> None:
    if grant.limits.requests_per_minute:
        send(grant, told(words=1)).finished.wait()
    before, asked = entries(app), len(provider.log())

    with pytest.raises(LimitExceeded):
        send(grant, told(words=1))

    assert [row.id for row in entries(app)] == [row.id for row in before]
    assert len(provider.log()) == asked


def test_what_cannot_be_stored_costs_nothing(app: OpenAPI, send: Send) -> None:
    grant = key(requests_per_minute=5, tokens_per_minute=1000, parallel_requests=3)
    live = send(grant, told(words=5, first_token_ms=500, usage=USED))
    held = used(app, grant)

    with pytest.raises(Conflict):
        send(grant, told(words=1), live.turn.session_id)

    assert used(app, grant) == held
    live.finished.wait()


def test_a_turn_that_the_budget_refuses_costs_nothing(app: OpenAPI, admin: Actor, send: Send) -> None:
    admin.put(f"/api/v1/users/{admin.id}/budgets", {"total": {"requests": 0}})

    with pytest.raises(AppError) as caught:
        send(GRANT, told(words=1))

    assert caught.value.error_code == "budget_exceeded"
    assert used(app, GRANT) == (0, 0)
