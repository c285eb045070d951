"""Idempotency keys: a request that is made again gets the turn of the first one, whatever became of that."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from domain.clock import now
from models import ClaimEntity, GenerationEntity, MessageEntity, db
from services.idempotency import KEPT
from tests.actors import Actor, ok, refused, set_up
from tests.chats import answer_in, chat, contents, entry, eventually, messages, services, told
from tests.conftest import ECHO, AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider), **ECHO}, **SETTINGS)


@pytest.fixture
def other_node(make_app: AppFactory, provider: ScriptedProvider, app: OpenAPI) -> OpenAPI:
    """Another node on the same database."""
    return make_app({"openai": entry(provider), **ECHO}, **SETTINGS)


def at(node: OpenAPI, user: Actor) -> Actor:
    """The same user, who calls another node."""
    return Actor(node, user.tokens)


def send(user: Actor, key: str, path: str = "/api/v1/chat", **body: Any) -> TestResponse:
    return user.post(path, {"message": "hello"} | body, headers={"Idempotency-Key": key})


def is_replayed(response: TestResponse) -> bool:
    return response.headers.get("Idempotent-Replayed") == "true"


def count(app: OpenAPI, entity: type[Any]) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(entity)) or 0


def age(app: OpenAPI, by: timedelta) -> None:
    """Let so much time pass for all claims."""
    with app.app_context():
        for claim in db.session.scalars(sa.select(ClaimEntity)):
            claim.expires_at -= by
        db.session.commit()


def test_the_same_request_again_gets_the_same_answer(admin: Actor, provider: ScriptedProvider) -> None:
    first = send(admin, "one")
    again = send(admin, "one")

    assert ok(again) == ok(first)
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    assert len(provider.log()) == 1
    assert len(messages(admin, ok(first)["session_id"])) == 2


def test_a_key_counts_within_a_session_too(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "before")["session_id"]

    first, again = (send(admin, "one", session_id=session_id) for _ in range(2))
    after = send(admin, "two", session_id=session_id)

    assert ok(again) == ok(first)
    assert not is_replayed(after)
    assert len(messages(admin, session_id)) == 6


@pytest.mark.parametrize("path", ["/api/v1/chat/completion", "/api/v1/chat/{session_id}"])
def test_every_route_for_a_whole_answer_takes_keys(admin: Actor, provider: ScriptedProvider, path: str) -> None:
    session_id = chat(admin, "before")["session_id"]
    path = path.format(session_id=session_id)

    first, again = send(admin, "one", path, session_id=session_id), send(admin, "one", path, session_id=session_id)

    assert ok(again) == ok(first)
    assert is_replayed(again)
    assert len(messages(admin, session_id)) == 4


def test_an_answer_is_made_again_once(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "hello")["session_id"]
    path, headers = "/api/v1/chat/regenerate", {"Idempotency-Key": "one"}

    first, again = (admin.post(path, {"session_id": session_id}, headers=headers) for _ in range(2))

    assert ok(again) == ok(first)
    assert is_replayed(again)
    assert len(answer_in(admin, session_id)["siblings"]) == 2


def test_a_message_is_edited_once(admin: Actor, provider: ScriptedProvider) -> None:
    question = chat(admin, "hello")["message"]["parent_id"]

    first, again = (send(admin, "one", "/api/v1/chat/edit", message_id=question, message="hi") for _ in range(2))

    assert ok(again) == ok(first)
    assert is_replayed(again)
    assert contents(admin, ok(first)["session_id"])[0] == "hi"
    assert len(provider.log()) == 2


@pytest.mark.parametrize("path", ["/api/v1/chat/stream", "/api/v1/chat/{session_id}/stream"])
def test_a_stream_is_given_again_byte_by_byte(admin: Actor, provider: ScriptedProvider, path: str) -> None:
    session_id = chat(admin, "before")["session_id"]
    path, message = path.format(session_id=session_id), told(words=30, pace_ms=1)

    first = send(admin, "one", path, session_id=session_id, message=message)
    text = first.get_data()
    again = send(admin, "one", path, session_id=session_id, message=message)

    assert again.get_data() == text
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    assert again.headers.get("X-Generation-Id") == first.headers.get("X-Generation-Id")
    assert len(provider.log()) == 2


def test_a_running_stream_is_joined(admin: Actor, provider: ScriptedProvider) -> None:
    message = told(words=40, pace_ms=20)
    first = send(admin, "one", "/api/v1/chat/stream", message=message)

    again = send(admin, "one", "/api/v1/chat/stream", message=message)

    assert is_replayed(again)
    assert services(admin.client.application).runner.get(again.headers["X-Generation-Id"])  # type: ignore[arg-type]
    assert again.get_data() == first.get_data()
    assert len(provider.log()) == 1


def test_a_turn_may_begin_for_those_who_follow_and_be_asked_for_again(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "before")["session_id"]
    headers = {"Idempotency-Key": "one", "Accept": "application/json"}

    first, again = (
        admin.post(f"/api/v1/chat/{session_id}/stream", {"message": "hello"}, headers=headers) for _ in range(2)
    )

    assert ok(again, 202) == ok(first, 202)
    assert is_replayed(again)


def test_another_node_waits_for_the_same_answer(admin: Actor, other_node: OpenAPI, provider: ScriptedProvider) -> None:
    message = told(words=30, pace_ms=20)

    def soon() -> TestResponse:
        eventually(provider.log)
        return send(at(other_node, admin), "one", message=message)

    first, again = at_once(lambda: send(admin, "one", message=message), soon)

    assert ok(again) == ok(first)
    assert is_replayed(again)
    assert len(provider.log()) == 1


def test_another_node_streams_the_same_answer(admin: Actor, other_node: OpenAPI, provider: ScriptedProvider) -> None:
    first = send(admin, "one", "/api/v1/chat/stream").get_data(as_text=True)

    again = send(at(other_node, admin), "one", "/api/v1/chat/stream").get_data(as_text=True)

    assert again.split("\n\n")[-2] == first.split("\n\n")[-2]  # `complete`
    assert '"type":"start"' in again
    assert len(provider.log()) == 1


def test_a_key_that_is_used_for_another_request_is_refused(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(send(admin, "one"))["session_id"]

    refused(send(admin, "one", message="another"), 422, "idempotency_key_reused")
    refused(send(admin, "one", stream=True), 422, "idempotency_key_reused")
    send(admin, "two", f"/api/v1/chat/{session_id}")
    other = chat(admin, "elsewhere")["session_id"]
    refused(send(admin, "two", f"/api/v1/chat/{other}"), 422, "idempotency_key_reused")


def test_what_is_said_in_other_words_is_the_same_request(admin: Actor, provider: ScriptedProvider) -> None:
    first = send(admin, "one", provider="openai")
    again = send(admin, "one", ai_provider="openai", stream=False, config={}, unknown=1)

    assert ok(again) == ok(first)


def test_keys_of_different_routes_and_users_have_nothing_to_do_with_each_other(
    admin: Actor, user: Actor, provider: ScriptedProvider
) -> None:
    answers = [send(admin, "one"), send(user, "one"), send(admin, "one", "/api/v1/chat/completion")]

    assert not any(map(is_replayed, answers))
    assert len({ok(answer)["generation_id"] for answer in answers}) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "naïve", "tab\tbed"])
def test_a_key_that_is_none_is_refused(admin: Actor, key: str) -> None:
    assert refused(send(admin, key), 422, "invalid_request")["fields"] == ["Idempotency-Key"]


def test_the_longest_key_counts(admin: Actor) -> None:
    assert [is_replayed(send(admin, "~ " * 127 + "x")) for _ in range(2)] == [False, True]


def test_what_was_refused_before_it_was_stored_may_be_tried_again(admin: Actor, app: OpenAPI) -> None:
    refused(send(admin, "one", message=""), 422, "invalid_request")
    refused(send(admin, "one", session_id="sess_none"), 404, "session_not_found")
    picture = {"type": "image", "url": "https://example.org/a.png"}
    refused(send(admin, "one", model="blind", attachments=[picture]), 422, "model_cannot_see")
    assert count(app, ClaimEntity) == 0

    assert not is_replayed(send(admin, "one"))
    assert count(app, ClaimEntity) == 1


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ({"error": "content_filter"}, 422, "content_filtered"),
        ({"status": 401}, 502, "provider_denied"),
        ({"status": 503}, 503, "provider_unavailable"),
        ({"fault": "cut", "words": 20}, 502, "upstream_cut"),
    ],
)
def test_a_failure_is_given_again_as_a_failure(
    admin: Actor, provider: ScriptedProvider, script: dict[str, Any], status: int, code: str
) -> None:
    first = send(admin, "one", message=told(**script))
    calls = len(provider.log())
    again = send(admin, "one", message=told(**script))

    assert refused(again, status, code)["error"] == refused(first, status, code)["error"]
    assert is_replayed(again)
    assert len(provider.log()) == calls


def test_an_answer_whose_session_was_deleted_is_not_begun_again(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(send(admin, "one"))["session_id"]
    admin.delete(f"/api/v1/sessions/{session_id}")

    refused(send(admin, "one"), 409, "session_deleted")
    send(admin, "two", "/api/v1/chat/stream")
    for session in ok(admin.get("/api/v1/sessions"))["items"]:
        admin.delete(f"/api/v1/sessions/{session['id']}")
    refused(send(admin, "two", "/api/v1/chat/stream"), 409, "session_deleted")
    assert len(provider.log()) == 2


def test_neither_the_key_nor_the_request_is_kept(admin: Actor, app: OpenAPI) -> None:
    send(admin, "a-very-secret-key", message="a very private message")

    with app.app_context():
        row = db.session.execute(sa.select(ClaimEntity.__table__)).one()
    assert "secret" not in str(row)
    assert "private" not in str(row)
    assert len(row.key_hash) == len(row.request_hash) == 64


def test_a_key_counts_for_24_hours(any_database_app: OpenAPI) -> None:
    admin = set_up(any_database_app)
    first = ok(send(admin, "one"))

    age(any_database_app, KEPT - timedelta(minutes=1))
    assert ok(send(admin, "one")) == first
    age(any_database_app, timedelta(minutes=1))
    assert ok(send(admin, "one"))["generation_id"] != first["generation_id"]
    assert count(any_database_app, ClaimEntity) == 1


def test_what_has_expired_is_forgotten(any_database_app: OpenAPI) -> None:
    admin = set_up(any_database_app)
    send(admin, "one")
    age(any_database_app, KEPT)
    send(admin, "two")

    services(any_database_app).keeper.tick(all_duties=True)

    assert count(any_database_app, ClaimEntity) == 1
    assert [is_replayed(send(admin, key)) for key in ("two", "one")] == [True, False]


def test_however_much_has_expired_is_forgotten(app: OpenAPI) -> None:
    fields = dict.fromkeys(("user_id", "request_hash", "session_id", "message_id", "generation_id"), "x")
    rows = [{"key_hash": str(number), "expires_at": now() - KEPT, **fields} for number in range(2001)]
    with app.app_context():
        db.session.execute(sa.insert(ClaimEntity), rows)
        db.session.commit()

    services(app).keeper.tick(all_duties=True)

    assert count(app, ClaimEntity) == 0


AT_ONCE, ROUNDS = 10, 3


@pytest.mark.parametrize("in_a_session", [False, True])
def test_of_racing_twins_one_begins_and_all_get_its_answer(
    make_app: AppFactory, provider: ScriptedProvider, database_url: str, in_a_session: bool
) -> None:
    settings = SETTINGS | {"DATABASE_URL": database_url, "MAX_STREAMS_PER_USER": 1000, "DATABASE_POOL_SIZE": 30}
    nodes = [make_app({"openai": entry(provider)}, **settings) for _ in range(2)]
    admin = set_up(nodes[0])
    callers = [admin, admin, at(nodes[1], admin)]
    before = [chat(admin, "before")["session_id"] for _ in range(AT_ONCE)] if in_a_session else [None] * AT_ONCE

    def twin(caller: Actor, key: str, session_id: str | None) -> Callable[[], tuple[str, TestResponse]]:
        return lambda: (key, send(caller, key, session_id=session_id))

    for number in range(ROUNDS):
        twins = [twin(one, f"{number} {n}", session) for n, session in enumerate(before) for one in callers]
        answers: dict[str, list[TestResponse]] = {}
        for key, answer in at_once(*twins):
            answers.setdefault(key, []).append(answer)
        for three in answers.values():
            assert len({ok(answer)["generation_id"] for answer in three}) == 1
            assert sorted(map(is_replayed, three)) == [False, True, True]

    turns = AT_ONCE * (ROUNDS + in_a_session)
    assert len(provider.log()) == count(nodes[0], GenerationEntity) == turns
    assert count(nodes[0], MessageEntity) == 2 * turns


def test_with_redis_every_node_gives_the_same_bytes(
    make_app: AppFactory, provider: ScriptedProvider, redis: Redis
) -> None:
    nodes = [make_app({"openai": entry(provider)}, **SETTINGS, REDIS_URL=redis.url) for _ in range(2)]
    admin, message = set_up(nodes[0]), told(words=60, pace_ms=20)
    first = send(admin, "one", "/api/v1/chat/stream", message=message)

    running = send(at(nodes[1], admin), "one", "/api/v1/chat/stream", message=message).get_data()
    ended = send(at(nodes[1], admin), "one", "/api/v1/chat/stream", message=message).get_data()

    assert running == ended == first.get_data()
    assert len(provider.log()) == 1
