"""Stateless protocols with a memory: sessions by name, and requests that count once."""

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from domain.clock import now
from models import MessageEntity, SessionEntity, db
from services.idempotency import KEPT
from tests.actors import Actor, add_user, ok
from tests.chats import contents, entry, messages, prompt, services, told
from tests.conftest import ECHO, AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

USED = {"prompt_tokens": 11, "completion_tokens": 7}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider), **ECHO}, AUTO_TITLE=False, RATE_LIMIT_CHAT="10000 per minute")


def complete(user: Actor, *said: dict[str, Any] | str, headers: dict[str, str], **more: Any) -> TestResponse:
    spoken = [{"role": "user", "content": one} if isinstance(one, str) else one for one in said]
    body = {"model": "sees", "messages": spoken} | more
    return user.post("/v1/chat/completions", body, headers=headers)


def text_of(response: TestResponse) -> str:
    assert response.status_code == 200, response.get_data(as_text=True)
    return str(response.get_json()["choices"][0]["message"]["content"])


def streamed(response: TestResponse) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.get_data(as_text=True)
    *events, done = response.get_data(as_text=True).strip().split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: ")]


def error(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["error"]["code"]


def test_a_session_by_name_remembers_what_was_said(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    first = complete(admin, told("My name is Ada.", text="Hello Ada."), headers={"X-Session-Id": "desk 7"})
    second = complete(admin, told("Who am I?", text="Ada."), headers={"X-Session-Id": "desk 7"})

    assert (text_of(first), text_of(second)) == ("Hello Ada.", "Ada.")
    session_id = first.headers["X-Session-Id"]
    assert second.headers["X-Session-Id"] == session_id
    assert [role for role, _ in prompt(provider.last())] == ["user", "assistant", "user"]
    assert contents(admin, session_id)[1::2] == ["Hello Ada.", "Ada."]
    assert [one["id"] for one in ok(admin.get("/api/v1/sessions"))["items"]] == [session_id]


def test_a_session_may_be_named_by_its_id_and_in_the_metadata(app: OpenAPI, admin: Actor) -> None:
    session_id = ok(admin.post("/api/v1/sessions", {}), 201)["id"]

    answer = complete(admin, told(text="Hi."), headers={}, metadata={"session_id": session_id})

    assert answer.headers["X-Session-Id"] == session_id
    assert contents(admin, session_id)[1] == "Hi."


def test_of_a_history_that_the_client_brings_along_only_what_is_new_counts(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    headers = {"X-Session-Id": "mine"}
    complete(admin, told("one", text="first"), headers=headers)

    complete(
        admin,
        {"role": "system", "content": "Be brief."},
        "invented",
        {"role": "assistant", "content": "also invented"},
        told("two", text="second"),
        headers=headers,
    )

    (system, instructions), *said = prompt(provider.last())
    assert (system, instructions) == ("system", "Be brief.")
    assert [role for role, _ in said] == ["user", "assistant", "user"]
    assert "invented" not in str(said)


def test_a_tools_result_goes_on_with_the_session(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    headers, tool = {"X-Session-Id": "tools"}, {"type": "function", "function": {"name": "weather", "parameters": {}}}
    asked = told("How is it?", tool_calls=[{"name": "weather", "arguments": {"city": "Bonn"}}])
    (call,) = complete(admin, asked, headers=headers, tools=[tool]).get_json()["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Bonn"})

    provider.script(text="It is sunny.")
    results = [
        {"role": "user", "content": "How is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    answer = complete(admin, *results, headers=headers, tools=[tool])

    assert text_of(answer) == "It is sunny."
    assert [role for role, _ in prompt(provider.last())] == ["user", "assistant", "tool"]


def test_a_stream_of_a_session_is_like_any_other(app: OpenAPI, admin: Actor) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    response = complete(admin, told(text="one two three", usage=USED), headers={"X-Session-Id": "s"}, **asked)

    *events, last = streamed(response)
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in events) == "one two three"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 18)
    assert {one["model"] for one in events} == {"sees"}


def test_nobody_elses_session_is_seen(app: OpenAPI, admin: Actor) -> None:
    eve = add_user(admin, app, "eve")
    session_id = complete(admin, told(text="secret"), headers={"X-Session-Id": "s"}).headers["X-Session-Id"]

    assert error(complete(eve, "hello", headers={"X-Session-Id": session_id})) == (404, "session_not_found")
    own = complete(eve, told(text="mine"), headers={"X-Session-Id": "s"})
    assert own.headers["X-Session-Id"] != session_id
    assert len(messages(admin, session_id)) == 2


@pytest.mark.parametrize("name", ["", "x" * 201, "tab\there"])
def test_a_name_that_is_none_is_refused(app: OpenAPI, admin: Actor, name: str) -> None:
    assert error(complete(admin, "hello", headers={}, metadata={"session_id": name})) == (400, "invalid_session_id")


def test_a_session_needs_something_new(app: OpenAPI, admin: Actor) -> None:
    said = {"role": "assistant", "content": "I am first."}

    assert error(complete(admin, said, headers={"X-Session-Id": "s"})) == (400, "no_new_message")


def test_what_cannot_be_kept_is_refused(app: OpenAPI, admin: Actor) -> None:
    assert complete(admin, "hello", headers={"X-Session-Id": "s"}, logprobs=True).status_code == 400
    assert complete(admin, "hello", headers={"X-Session-Id": "s"}, n=2).status_code == 400
    assert complete(admin, told(text="fine"), headers={}, logprobs=True).status_code == 200


def test_a_failure_is_told_as_elsewhere(app: OpenAPI, admin: Actor) -> None:
    denied = complete(admin, told(status=401), headers={"X-Session-Id": "s"})
    stateless = complete(admin, told(status=401), headers={})

    assert error(denied) == error(stateless)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_under_one_key_counts_once(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider, stream: bool
) -> None:
    headers, before = {"Idempotency-Key": "k1"}, len(provider.log())
    asked = told("pay", text="paid once")

    first, second = (complete(admin, asked, headers=headers, stream=stream) for _ in range(2))

    assert first.get_data() == second.get_data()
    assert "paid" in first.get_data(as_text=True)
    assert (first.headers.get("Idempotent-Replayed"), second.headers["Idempotent-Replayed"]) == (None, "true")
    assert len(provider.log()) - before == 1


def test_twins_at_once_get_one_answer(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    before = len(provider.log())
    asked = told("pay", words=20, pace_ms=10)

    answers = at_once(*[lambda: text_of(complete(admin, asked, headers={"Idempotency-Key": "twins"}))] * 10)

    assert len(set(answers)) == 1
    assert len(provider.log()) - before == 1


def test_another_request_under_the_same_key_is_refused(app: OpenAPI, admin: Actor) -> None:
    headers = {"Idempotency-Key": "k"}
    assert complete(admin, told(text="one"), headers=headers).status_code == 200

    other = complete(admin, told(text="two"), headers=headers)

    assert error(other)[1] == "idempotency_key_reused"
    assert error(complete(admin, "x", headers={"Idempotency-Key": "k" * 256})) == (400, "invalid_idempotency_key")


def test_a_kept_answer_is_hidden_has_no_prompt_and_goes_after_a_day(app: OpenAPI, admin: Actor) -> None:
    complete(admin, told("my secret", text="fine"), headers={"Idempotency-Key": "k"})

    assert ok(admin.get("/api/v1/sessions"))["items"] == []
    with app.app_context():
        stored = db.session.scalars(sa.select(MessageEntity)).all()
        assert [(row.role, row.text) for row in stored] == [("assistant", "fine")]
        db.session.execute(sa.update(SessionEntity).values(created_at=now() - KEPT))
        db.session.commit()
    services(app).keeper.tick(all_duties=True)

    with app.app_context():
        assert db.session.scalars(sa.select(SessionEntity)).all() == []


def test_anthropics_protocol_has_sessions_too(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    for said, answer in (("My name is Ada.", "Hello Ada."), ("Who am I?", "Ada.")):
        body = {"model": "sees", "max_tokens": 100, "messages": [{"role": "user", "content": told(said, text=answer)}]}
        response = admin.post("/v1/messages", body, headers={"X-Session-Id": "claude"})
        assert response.get_json()["content"] == [{"type": "text", "text": answer}], response.get_json()

    assert [role for role, _ in prompt(provider.last())] == ["user", "assistant", "user"]
