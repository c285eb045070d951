"""What a provider is sent, and what of its answer is kept: against the scripted provider's own log."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.actors import Actor, ok, refused
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedProvider]:
    with ScriptedProvider.start() as provider:
        yield provider


@pytest.fixture
def provider(running: ScriptedProvider) -> ScriptedProvider:
    running.reset()
    return running


def _entry(provider: ScriptedProvider) -> dict[str, Any]:
    models = [
        {"name": "sees", "context_window": 2000, "max_output": 100, "vision": True},
        {"name": "blind", "context_window": 2000, "max_output": 100, "vision": False},
    ]
    config = {"api_key": "a-key-for-tests", "base_url": provider.openai_url, "models": models}
    return {"openai": {"adapter_class": "adapters.openai_adapter.OpenAIAdapter", "config": config}}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app(_entry(provider), AUTO_TITLE=False)


def _send(user: Actor, message: str, session_id: str | None = None, **body: Any) -> TestResponse:
    return user.post("/api/v1/chat", {"message": message, "session_id": session_id, **body})


def _prompt(provider: ScriptedProvider) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in provider.last()["body"]["messages"]]


def _last_message(user: Actor, session_id: str) -> dict[str, Any]:
    return dict(ok(user.get(f"/api/v1/sessions/{session_id}/messages?limit=100"))["items"][-1])


def test_the_prompt_is_the_system_prompt_and_the_chosen_branch(user: Actor, provider: ScriptedProvider) -> None:
    provider.script({"text": "first"}, {"text": "second"}, {"text": "other"}, {"text": "third"})
    session_id = ok(_send(user, "one", config={"system_prompt": "Be kind."}))["session_id"]
    second = ok(_send(user, "two", session_id))
    ok(user.post("/api/v1/chat/regenerate", {"message_id": second["message"]["id"]}))
    ok(user.post("/api/v1/chat/choose", {"message_id": second["message"]["id"]}))

    ok(_send(user, "three", session_id))

    assert _prompt(provider) == [
        ("system", "Be kind."),
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "second"),
        ("user", "three"),
    ]


def test_a_cleared_context_is_not_sent_and_what_comes_after_it_is(user: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(_send(user, "one"))["session_id"]
    ok(user.delete(f"/api/v1/sessions/{session_id}/context"))

    ok(_send(user, "two", session_id))
    assert _prompt(provider) == [("user", "two")]

    ok(_send(user, "three", session_id))
    assert [content for role, content in _prompt(provider) if role == "user"] == ["two", "three"]


def test_the_oldest_turns_make_room_and_the_system_prompt_stays(user: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(_send(user, "one " * 300, config={"system_prompt": "Be brief."}))["session_id"]
    for word in ("two", "three", "four", "five", "six", "seven"):
        ok(_send(user, f"{word} " * 300, session_id))

    prompt = _prompt(provider)

    assert prompt[0] == ("system", "Be brief.")
    assert prompt[1][0] == "user"
    assert not any("one one" in str(content) for _, content in prompt)
    assert "seven" in str(prompt[-1][1])


def test_a_message_that_cannot_fit_is_refused_and_nothing_is_stored(user: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(user.post("/api/v1/sessions", {}), 201)["id"]

    refused(_send(user, "word " * 3000, session_id), 422, "context_too_long")

    assert ok(user.get(f"/api/v1/sessions/{session_id}/messages"))["items"] == []
    assert provider.log() == []


def test_what_a_call_says_counts_for_its_turn_alone(user: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(user.post("/api/v1/sessions", {"temperature": 0.5}), 201)["id"]

    ok(_send(user, "one", session_id, model="blind", config={"temperature": 1.5, "max_tokens": 7}))
    once = provider.last()["body"]
    ok(_send(user, "two", session_id))
    then = provider.last()["body"]

    assert (once["model"], once["temperature"], once["max_tokens"]) == ("blind", 1.5, 7)
    assert (then["model"], then["temperature"], "max_tokens" in then) == ("sees", 0.5, False)


def test_a_picture_reaches_a_model_that_sees_and_no_other(user: Actor, provider: ScriptedProvider) -> None:
    attachments = [{"type": "image", "url": PNG}]

    ok(_send(user, "what is this?", attachments=attachments, model="sees"))
    assert {"type": "image_url", "image_url": {"url": PNG}} in _prompt(provider)[-1][1]

    refused(_send(user, "and this?", attachments=attachments, model="blind"), 422, "model_cannot_see")
    assert len(provider.log()) == 1


def test_reasoning_is_kept_and_not_sent_again(user: Actor, provider: ScriptedProvider) -> None:
    provider.script(text="yes", reasoning="let me think")
    first = ok(_send(user, "one"))

    ok(_send(user, "two", first["session_id"]))

    assert first["message"]["parts"] == [
        {"type": "reasoning", "text": "let me think"},
        {"type": "text", "text": "yes"},
    ]
    assert "let me think" not in json.dumps(provider.last()["body"])


def test_tool_calls_are_kept_whole(user: Actor, provider: ScriptedProvider) -> None:
    provider.script(tool_calls=[{"name": "clock", "arguments": '{"zone": "UTC"}', "id": "call_1"}], tool_fragments=4)

    answer = ok(_send(user, "what time is it?"))["message"]

    assert answer["end_reason"] == "tool_calls"
    call = {"type": "tool_call", "id": "call_1", "name": "clock", "arguments": '{"zone": "UTC"}'}
    assert call in answer["parts"]


@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ({"usage": {"prompt_tokens": 11, "completion_tokens": 22}}, (11, 22, "provider")),
        ({"usage": "zero"}, (0, 0, "provider")),
    ],
)
def test_the_providers_count_is_the_count(
    user: Actor, provider: ScriptedProvider, script: dict[str, Any], usage: tuple[int, int, str]
) -> None:
    provider.script(text="a few words", **script)

    counted = ok(_send(user, "one"))["usage"]

    assert (counted["prompt_tokens"], counted["completion_tokens"], counted["source"]) == usage


def test_without_a_count_of_the_provider_there_is_an_estimate(user: Actor, provider: ScriptedProvider) -> None:
    provider.script(text="a few words", usage="off")

    usage = ok(_send(user, "one"))["usage"]

    assert usage["source"] == "estimated"
    assert usage["completion_tokens"] == 3


def test_usage_is_sent_as_it_is_configured(make_app: AppFactory, provider: ScriptedProvider) -> None:
    from tests.actors import set_up

    silent = set_up(make_app(_entry(provider), USAGE_EMIT=False, DATA_DIR="silent"))
    strict = set_up(make_app(_entry(provider), USAGE_PROVIDER_ONLY=True, DATA_DIR="strict"))
    provider.script(text="one", usage="off", times=-1)

    unsent = silent.post("/api/v1/chat/stream", {"message": "hi"}).get_data(as_text=True)
    uncounted = strict.post("/api/v1/chat", {"message": "hi"})

    assert '"type":"usage"' not in unsent
    assert ok(uncounted)["usage"] is None


@pytest.mark.parametrize(
    ("script", "status", "code", "end_reason"),
    [
        ({"fault": "cut"}, 502, "upstream_cut", "upstream_cut"),
        ({"fault": "reset"}, 502, "upstream_cut", "upstream_cut"),
        ({"fault": "error_in_200"}, 503, "provider_unavailable", "upstream_error"),
        ({"fault": "malformed_event"}, 502, "provider_garbage", "upstream_error"),
    ],
)
def test_what_came_before_a_failure_is_kept_and_marked(
    user: Actor, provider: ScriptedProvider, script: dict[str, Any], status: int, code: str, end_reason: str
) -> None:
    session_id = ok(user.post("/api/v1/sessions", {}), 201)["id"]
    provider.script(words=40, pace_ms=1, times=2, **script)  # one more attempt is made

    refused(_send(user, "one", session_id), status, code)

    kept = _last_message(user, session_id)
    assert (kept["status"], kept["end_reason"], kept["error_code"]) == ("failed", end_reason, code)
    assert kept["content"]
    assert provider.last()["text_sent"].startswith(kept["content"])
    again = ok(user.post("/api/v1/chat/regenerate", {"session_id": session_id}))
    assert again["message"]["status"] == "completed"
    assert len(again["message"]["siblings"]) == 2


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ({"status": 401}, 502, "provider_denied"),
        ({"status": 404, "error": "model_not_found"}, 404, "model_not_found"),
        ({"status": 400, "error": "context_length_exceeded"}, 422, "context_too_long"),
        ({"status": 400, "error": "content_filter"}, 422, "content_filtered"),
        ({"status": 500}, 503, "provider_unavailable"),
        ({"fault": "empty_answer"}, 502, "empty_answer"),
        ({"fault": "no_finish"}, 502, "upstream_cut"),
    ],
)
def test_a_failure_has_its_code(
    user: Actor, provider: ScriptedProvider, script: dict[str, Any], status: int, code: str
) -> None:
    provider.script(times=-1, **script)

    refused(_send(user, "one"), status, code)


def test_a_provider_that_asks_for_patience_is_passed_on(user: Actor, provider: ScriptedProvider) -> None:
    provider.script(status=429, retry_after=70)  # longer than we wait ourselves

    response = _send(user, "one")

    refused(response, 429, "provider_rate_limited")
    assert response.headers["Retry-After"] == "70"
