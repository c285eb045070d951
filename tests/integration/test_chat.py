"""Turns: asked in three ways, answered again, edited, branched; one at a time; and what they cost."""

import base64
import json
import threading
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from flask_openapi import OpenAPI

from api.v1.chat import ChatOut
from tests.actors import Actor, ok, refused, set_up
from tests.chats import (
    MODELS,
    answer_in,
    begin,
    chat,
    contents,
    ended,
    entry,
    events_of,
    eventually,
    messages,
    prompt,
    services,
    shown,
    told,
)
from tests.conftest import ECHO, AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

LONG = {"words": 400, "pace_ms": 10}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PICTURE = [{"type": "image", "url": PNG, "name": "a cat"}]
SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    second = entry(provider, models=["m1", *MODELS])
    return make_app({"openai": entry(provider), "second": second, **ECHO}, **SETTINGS)


@pytest.fixture
def dify_user(make_app: AppFactory, provider: ScriptedProvider) -> Actor:
    """Someone whose only provider remembers sessions by itself."""
    config = {"api_key": "app-for-tests", "base_url": provider.dify_url}
    dify = {"adapter_class": "adapters.dify_adapter.DifyAdapter", "config": config}
    return set_up(make_app({"dify": dify}, **SETTINGS))


def _new(user: Actor, **fields: Any) -> str:
    return str(ok(user.post("/api/v1/sessions", fields), 201)["id"])


def _again(user: Actor, **body: Any) -> dict[str, Any]:
    return dict(ok(user.post("/api/v1/chat/regenerate", body)))


def _edit(user: Actor, message_id: str, message: str, **body: Any) -> dict[str, Any]:
    return dict(ok(user.post("/api/v1/chat/edit", {"message_id": message_id, "message": message, **body})))


def _choose(user: Actor, message_id: str) -> dict[str, Any]:
    return dict(ok(user.post("/api/v1/chat/choose", {"message_id": message_id})))


def _asked(provider: ScriptedProvider) -> list[str]:
    """The texts that the provider was sent last."""
    return [content for _, content in prompt(provider.last())]


# Three ways to ask


def test_an_answer_looks_as_its_schema_says(user: Actor) -> None:
    called = {"reasoning": "let me think", "tool_calls": [{"name": "weather", "arguments": "{}"}]}
    for script in (called, {"text": 'Grüße, "Ada"!\n\t\u2028'}):
        answer = chat(user, told(**script))

        assert ChatOut.model_validate(answer).model_dump(mode="json") == answer


def test_each_way_to_ask_gives_the_same_answer(admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(text="It is the same.", times=-1)
    body = {"message": "hello"}

    whole = ok(admin.post("/api/v1/chat", body))
    completion = ok(admin.post("/api/v1/chat/completion", body | {"stream": True}))
    flagged = admin.post("/api/v1/chat", body | {"stream": True})
    streamed = admin.post("/api/v1/chat/stream", body)

    for answer in (whole, completion):
        assert answer["message"]["content"] == "It is the same."
        assert answer["message"] == answer_in(admin, answer["session_id"])
        assert answer["usage"] == answer["message"]["usage"]
        assert answer["generation_id"] == answer["message"]["generation_id"]
    for stream in (flagged, streamed):
        events = events_of(stream)
        assert shown(events) == "It is the same."
        assert events[-1]["message"] == answer_in(admin, stream.headers["X-Session-Id"])
    assert len({json.dumps(logged["body"]) for logged in provider.log()}) == 1


def test_the_older_names_of_the_fields_are_understood(admin: Actor) -> None:
    session_id = _new(admin)

    answer = ok(
        admin.post("/api/v1/chat", {"message": "hi", "sessionId": session_id, "ai_provider": "second", "model": "m1"})
    )

    assert answer["session_id"] == session_id
    assert (answer["message"]["provider"], answer["message"]["model"]) == ("second", "m1")


def test_a_session_made_by_a_call_keeps_what_the_call_said(admin: Actor) -> None:
    config = {"system_prompt": "Be brief.", "temperature": 0.4, "max_tokens": 50}

    answer = chat(admin, "What is the tallest mountain?", provider="second", model="m1", config=config)

    session = ok(admin.get(f"/api/v1/sessions/{answer['session_id']}"))
    assert {name: session[name] for name in config} == config
    assert (session["provider"], session["model"]) == ("second", "m1")
    assert session["title"] == "What is the tallest mountain?"


def test_what_a_turn_says_counts_for_it_alone(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = _new(admin, provider="second", model="m1", system_prompt="Be brief.", temperature=0.4, max_tokens=50)
    before = ok(admin.get(f"/api/v1/sessions/{session_id}"))

    once = {"system_prompt": "", "temperature": 0, "max_tokens": 9}
    answer = chat(admin, "one", session_id, provider="openai", model="blind", config=once)
    asked = provider.last()["body"]
    chat(admin, "two", session_id)
    then = provider.last()["body"]

    assert (answer["message"]["provider"], answer["message"]["model"]) == ("openai", "blind")
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("blind", 0, 9)
    assert [message["role"] for message in asked["messages"]] == ["user"]
    assert (then["model"], then["temperature"], then["max_tokens"]) == ("m1", 0.4, 50)
    assert then["messages"][0] == {"role": "system", "content": "Be brief."}
    after = ok(admin.get(f"/api/v1/sessions/{session_id}"))
    assert {**after, "updated_at": None, "title": None} == {**before, "updated_at": None, "title": None}


@pytest.mark.parametrize(
    ("asked", "answered_by"),
    [
        ({}, ("second", "sees")),
        ({"model": "m1"}, ("second", "m1")),
        ({"model": "blind"}, ("second", "blind")),  # the session's provider comes first
        ({"model": "unheard-of"}, ("second", "unheard-of")),
        ({"model": "echo"}, ("echo", "echo")),
        ({"provider": "second"}, ("second", "sees")),
        ({"provider": "openai"}, ("openai", "sees")),
        ({"provider": "echo"}, ("echo", "echo")),
        ({"provider": "openai", "model": "blind"}, ("openai", "blind")),
    ],
)
def test_who_answers_a_turn(admin: Actor, asked: dict[str, str], answered_by: tuple[str, str]) -> None:
    session_id = _new(admin, provider="second", model="sees")

    answer = chat(admin, "hello", session_id, **asked)["message"]

    assert (answer["provider"], answer["model"]) == answered_by


def test_nothing_is_stored_of_a_turn_that_is_refused(admin: Actor) -> None:
    session_id = _new(admin)

    for body, code in (
        ({"message": ""}, "invalid_request"),
        ({"message": "   "}, "invalid_request"),
        ({"message": "hi", "provider": "nobody"}, "unknown_provider"),
        ({"message": "word " * 6000}, "context_too_long"),
        ({"message": "look", "model": "blind", "attachments": PICTURE}, "model_cannot_see"),
        ({"message": "hi", "config": {"temperature": 9}}, "invalid_request"),
    ):
        refused(admin.post("/api/v1/chat", body | {"session_id": session_id}), 422, code)
        assert admin.post("/api/v1/chat/stream", body).status_code == 422

    assert contents(admin, session_id) == []
    assert len(ok(admin.get("/api/v1/sessions"))["items"]) == 1


def test_without_any_provider_nothing_can_be_answered(make_app: AppFactory) -> None:
    user = set_up(make_app({}))

    response = user.post("/api/v1/chat", {"message": "hi"})

    refused(response, 503, "no_provider")
    assert response.headers["Retry-After"]


# Again, otherwise, and back


def test_a_question_can_be_answered_again_by_naming_it(admin: Actor) -> None:
    first = chat(admin, "one")
    question = messages(admin, first["session_id"])[0]

    again = _again(admin, message_id=question["id"])

    assert again["message"]["siblings"] == [first["message"]["id"], again["message"]["id"]]
    assert again["message"]["parent_id"] == question["id"]


def test_with_a_session_alone_its_last_answer_is_made_again(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "one")["session_id"]
    last = chat(admin, "two", session_id)["message"]

    again = _again(admin, session_id=session_id)["message"]

    assert again["siblings"] == [last["id"], again["id"]]
    assert _asked(provider)[-1] == "two"


def test_an_answer_in_the_middle_can_be_made_again(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "one")["session_id"]
    for text in ("two", "three"):
        chat(admin, text, session_id)
    before = messages(admin, session_id)

    again = _again(admin, message_id=before[1]["id"])["message"]

    assert _asked(provider) == ["one"]
    assert [m["id"] for m in messages(admin, session_id)] == [before[0]["id"], again["id"]]
    _choose(admin, before[1]["id"])
    assert [m["id"] for m in messages(admin, session_id)] == [m["id"] for m in before]


def test_another_model_can_be_asked_for_a_second_opinion(admin: Actor) -> None:
    first = chat(admin, "one")

    again = _again(admin, message_id=first["message"]["id"], provider="second", model="m1", config={"max_tokens": 5})

    assert (again["message"]["provider"], again["message"]["model"]) == ("second", "m1")
    assert ok(admin.get(f"/api/v1/sessions/{first['session_id']}"))["provider"] == "openai"


def test_an_empty_session_has_nothing_to_answer_again(admin: Actor) -> None:
    refused(admin.post("/api/v1/chat/regenerate", {"session_id": _new(admin)}), 409, "session_empty")
    refused(admin.post("/api/v1/chat/regenerate", {}), 422, "invalid_request")


class _Walk:
    """A walk through all ways to grow, change and choose branches, with a plain model of what there is."""

    def __init__(self, user: Actor, provider: ScriptedProvider, seed: int) -> None:
        self.user, self.provider, self.random = user, provider, Random(seed)
        self.session_id = _new(user)
        self.steps = 0
        self.branch_to: dict[str, list[str]] = {}  # message id -> texts of its branch, up to it

    def step(self) -> None:
        self.steps += 1
        branch = messages(self.user, self.session_id)
        move = self.random.choice([self._send, self._send, self._again, self._edit, self._choose])
        (move if branch else self._send)(branch)
        self._look(messages(self.user, self.session_id))

    def _send(self, branch: list[dict[str, Any]]) -> None:
        self._answered(partial(chat, self.user, f"question {self.steps}", self.session_id))

    def _again(self, branch: list[dict[str, Any]]) -> None:
        self._answered(partial(_again, self.user, message_id=self.random.choice(branch)["id"]))

    def _edit(self, branch: list[dict[str, Any]]) -> None:
        self._answered(partial(_edit, self.user, self.random.choice(branch[::2])["id"], f"question {self.steps}"))

    def _choose(self, branch: list[dict[str, Any]]) -> None:
        chosen = self.random.choice(self.random.choice(branch)["siblings"])
        _choose(self.user, chosen)
        expected = self.branch_to[chosen]
        assert contents(self.user, self.session_id)[: len(expected)] == expected

    def _answered(self, ask: Callable[[], object]) -> None:
        self.provider.script(text=f"answer {self.steps}")
        ask()
        *prompted, answer = contents(self.user, self.session_id)
        assert _asked(self.provider) == prompted
        assert answer == f"answer {self.steps}"

    def _look(self, branch: list[dict[str, Any]]) -> None:
        assert [m["role"] for m in branch] == ["user", "assistant"] * (len(branch) // 2)
        assert [m["parent_id"] for m in branch] == [None, *(m["id"] for m in branch[:-1])]
        assert all(m["id"] in m["siblings"] for m in branch)
        texts = [m["content"] for m in branch]
        self.branch_to |= {m["id"]: texts[: position + 1] for position, m in enumerate(branch)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_prompt_is_always_the_chosen_branch(admin: Actor, provider: ScriptedProvider, seed: int) -> None:
    walk = _Walk(admin, provider, seed)

    for _ in range(15):
        walk.step()


def test_a_branch_from_before_a_cleared_context_goes_on_with_its_own_history(
    admin: Actor, provider: ScriptedProvider
) -> None:
    session_id = _new(admin)
    for text in ("one", "two", "three"):
        chat(admin, text, session_id)
    ok(admin.delete(f"/api/v1/sessions/{session_id}/context"))
    first_answer = messages(admin, session_id)[1]

    again = _again(admin, message_id=first_answer["id"])
    assert _asked(provider) == ["one"]

    chat(admin, "four", session_id)
    assert _asked(provider) == ["one", again["message"]["content"], "four"]


def test_a_message_edited_after_a_clearing_begins_the_prompt(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = _new(admin)
    for text in ("one", "two", "three"):
        chat(admin, text, session_id)
    ok(admin.delete(f"/api/v1/sessions/{session_id}/context"))

    _edit(admin, messages(admin, session_id)[2]["id"], "two, in other words")
    assert _asked(provider) == ["two, in other words"]

    chat(admin, "four", session_id)
    first, _, last = _asked(provider)
    assert (first, last) == ("two, in other words", "four")


def test_the_answer_to_a_question_from_before_the_clearing_still_sees_the_question(
    admin: Actor, provider: ScriptedProvider
) -> None:
    session_id = _new(admin)
    for text in ("one", "two"):
        chat(admin, text, session_id)
    ok(admin.delete(f"/api/v1/sessions/{session_id}/context"))

    _again(admin, session_id=session_id)

    assert _asked(provider) == ["two"]


# One at a time


def test_a_session_answers_one_turn_at_a_time(admin: Actor) -> None:
    begun = begin(admin, told(**LONG))
    question, answer = messages(admin, begun.session_id)

    for path, body in (
        ("chat", {"message": "two", "session_id": begun.session_id}),
        ("chat/stream", {"message": "two", "session_id": begun.session_id}),
        ("chat/regenerate", {"session_id": begun.session_id}),
        ("chat/regenerate", {"message_id": answer["id"]}),
        ("chat/edit", {"message_id": question["id"], "message": "uno"}),
        ("chat/choose", {"message_id": answer["id"]}),
    ):
        refused(admin.post(f"/api/v1/{path}", body), 409, "session_busy")

    assert [m["id"] for m in messages(admin, begun.session_id)] == [question["id"], answer["id"]]
    assert chat(admin, "another session is free")["message"]["status"] == "completed"


@pytest.mark.usefixtures("every_database")
def test_of_turns_that_begin_at_once_exactly_one_wins(admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(words=300, pace_ms=10, times=-1)
    session_id = _new(admin)

    for _ in range(3):
        before = len(messages(admin, session_id))
        send = partial(admin.post, "/api/v1/chat/stream", {"message": "me", "session_id": session_id})
        responses = at_once(*[send] * 4)

        assert sorted(response.status_code for response in responses) == [200, 409, 409, 409]
        assert {r.get_json()["code"] for r in responses if r.status_code == 409} <= {"session_busy", "session_changed"}
        assert len(messages(admin, session_id)) == before + 2
        ok(admin.post("/api/v1/chat/stop", {"session_id": session_id}))


@pytest.mark.usefixtures("every_database")
def test_of_ways_to_go_on_at_once_exactly_one_wins(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "one")["session_id"]
    provider.script(words=300, pace_ms=10, times=-1)

    for _ in range(3):
        question, answer = messages(admin, session_id)[:2]
        responses = at_once(
            partial(admin.post, "/api/v1/chat/regenerate", {"message_id": answer["id"], "stream": True}),
            partial(admin.post, "/api/v1/chat/regenerate", {"session_id": session_id, "stream": True}),
            partial(admin.post, "/api/v1/chat/edit", {"message_id": question["id"], "message": "x", "stream": True}),
            partial(admin.post, "/api/v1/chat/stream", {"message": "two", "session_id": session_id}),
        )

        assert sorted(response.status_code for response in responses) == [200, 409, 409, 409]
        branch = messages(admin, session_id)
        assert [m["role"] for m in branch] == ["user", "assistant"] * (len(branch) // 2)
        assert [m["parent_id"] for m in branch] == [None, *(m["id"] for m in branch[:-1])]
        assert [m["status"] for m in branch].count("running") == 1
        ok(admin.post("/api/v1/chat/stop", {"session_id": session_id}))


def test_a_user_has_so_many_answers_at_once(make_app: AppFactory, provider: ScriptedProvider) -> None:
    user = set_up(make_app({"openai": entry(provider)}, **SETTINGS, MAX_STREAMS_PER_USER=2))
    first, second = (begin(user, told(**LONG)) for _ in range(2))

    response = user.post("/api/v1/chat", {"message": "and a third"})

    refused(response, 429, "too_many_streams")
    assert int(response.headers["Retry-After"]) > 0
    assert len(ok(user.get("/api/v1/sessions"))["items"]) == 2
    ok(user.post("/api/v1/chat/stop", {"session_id": first.session_id}))
    assert chat(user, "now there is room")["message"]["status"] == "completed"
    assert answer_in(user, second.session_id)["status"] == "running"


def test_who_waits_in_a_session_that_is_deleted_is_told(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = _new(admin)
    responses = []
    body = {"message": told(**LONG), "session_id": session_id}
    waiting = threading.Thread(target=lambda: responses.append(admin.post("/api/v1/chat", body)))
    waiting.start()
    provider.wait_requests(1)

    ok(admin.delete(f"/api/v1/sessions/{session_id}"))
    waiting.join(10)

    refused(responses[0], 409, "session_deleted")


# Pictures


def test_pictures_of_earlier_turns_become_words_for_a_model_that_cannot_see(
    admin: Actor, provider: ScriptedProvider
) -> None:
    session_id = chat(admin, "What is this?", attachments=PICTURE)["session_id"]

    chat(admin, "And what colour?", session_id, model="blind")

    first, _, last = _asked(provider)
    assert "a cat" in first
    assert "What is this?" in first
    assert last == "And what colour?"
    assert PNG not in json.dumps(provider.last()["body"])
    chat(admin, "Look again.", session_id)
    assert PNG in json.dumps(provider.last()["body"])


def test_a_question_with_a_picture_is_not_asked_again_of_a_model_that_cannot_see(admin: Actor) -> None:
    first = chat(admin, "What is this?", attachments=PICTURE)

    body = {"message_id": first["message"]["id"], "model": "blind"}
    refused(admin.post("/api/v1/chat/regenerate", body), 422, "model_cannot_see")

    assert answer_in(admin, first["session_id"]) == first["message"]


def test_a_picture_needs_no_words(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(admin, "", attachments=PICTURE)["session_id"]

    assert _asked(provider) == [[{"type": "image_url", "image_url": {"url": PNG}}]]
    assert ok(admin.get(f"/api/v1/sessions/{session_id}"))["title"] == "New chat"
    chat(admin, "A cat, perhaps?", session_id)
    assert ok(admin.get(f"/api/v1/sessions/{session_id}"))["title"] == "A cat, perhaps?"


# What is kept of an answer


def test_a_tool_call_that_was_cut_by_the_limit_is_not_kept(admin: Actor, provider: ScriptedProvider) -> None:
    call = {"name": "clock", "arguments": '{"zone": "Eur', "id": "call_1"}
    provider.script(tool_calls=[call], finish_reason="length")

    begun = begin(admin, "What time is it?")
    events = begun.events()

    assert "tool_call" not in [event["type"] for event in events]
    answer = answer_in(admin, begun.session_id)
    assert (answer["status"], answer["end_reason"], answer["parts"]) == ("completed", "length", [])


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_says_why_it_ended(admin: Actor, provider: ScriptedProvider, reason: str) -> None:
    provider.script(text="So far", finish_reason=reason)

    answer = chat(admin, "hello")["message"]

    assert (answer["status"], answer["end_reason"], answer["content"]) == ("completed", reason, "So far")


@pytest.mark.parametrize("script", [{"fault": "empty_answer"}, {"text": " \n "}, {"text": "", "reasoning": "Hm."}])
def test_an_answer_without_anything_in_it_is_a_failure(
    admin: Actor, provider: ScriptedProvider, script: dict[str, Any]
) -> None:
    session_id = _new(admin)
    provider.script(times=-1, **script)

    refused(admin.post("/api/v1/chat", {"message": "hello", "session_id": session_id}), 502, "empty_answer")

    answer = answer_in(admin, session_id)
    assert (answer["status"], answer["error_code"]) == ("failed", "empty_answer")


def test_an_answer_longer_than_a_message_may_be_is_cut_off(
    admin: Actor, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.generation_runner._MAX_ANSWER_CHARS", 2000)
    session_id = _new(admin)
    provider.script(words=50, fault="endless", pace_ms=0.1)

    refused(admin.post("/api/v1/chat", {"message": "hello", "session_id": session_id}), 502, "answer_too_large")

    assert provider.wait_closed()["end"] == "client_closed"
    answer = answer_in(admin, session_id)
    assert 2000 <= len(answer["content"]) < 4000
    assert answer["status"] == "failed"


@pytest.mark.parametrize(
    ("deadline", "script", "end_reason"),
    [
        ("PROVIDER_FIRST_TOKEN_MS", {"fault": "silent_headers", "after": 0}, "timeout_first_token"),
        ("PROVIDER_MAX_IDLE_MS", {"words": 20, "fault": "stall", "after": 5}, "timeout_idle"),
        ("PROVIDER_TIMEOUT_MS", {"words": 900, "pace_ms": 10}, "timeout_total"),
    ],
)
def test_a_provider_that_takes_too_long_is_given_up(
    make_app: AppFactory, provider: ScriptedProvider, deadline: str, script: dict[str, Any], end_reason: str
) -> None:
    user = set_up(make_app({"openai": entry(provider)}, **SETTINGS, **{deadline: 300}))
    session_id = _new(user)
    provider.script(times=-1, **script)

    refused(user.post("/api/v1/chat", {"message": "hello", "session_id": session_id}), 504, "provider_timeout")

    answer = answer_in(user, session_id)
    assert (answer["status"], answer["end_reason"]) == ("failed", end_reason)
    assert bool(answer["content"]) == (end_reason != "timeout_first_token")
    assert provider.wait_closed()["end"] == "client_closed"
    provider.reset()
    assert _again(user, session_id=session_id)["message"]["siblings"][0] == answer["id"]


def test_a_failed_turn_does_not_keep_the_session_from_going_on(admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(
        {"status": 500, "times": 2},  # once more is tried
        {"words": 10, "fault": "cut", "times": 2},
        {"text": "Here I am."},
    )
    session_id = _new(admin)
    for _ in range(2):
        assert admin.post("/api/v1/chat", {"message": "hello?", "session_id": session_id}).status_code >= 500
    partial_text = answer_in(admin, session_id)["content"]

    answer = chat(admin, "are you there?", session_id)

    assert answer["message"]["content"] == "Here I am."
    assert _asked(provider) == ["hello?", "hello?", partial_text, "are you there?"]


# What it cost


def test_a_sessions_usage_is_the_sum_of_its_turns(admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(
        {"text": "a", "usage": {"prompt_tokens": 10, "completion_tokens": 1}},
        {"text": "b", "usage": {"prompt_tokens": 20, "completion_tokens": 2}},
        {"text": "c", "usage": {"prompt_tokens": 30, "completion_tokens": 3}},
    )
    session_id = chat(admin, "one")["session_id"]
    chat(admin, "two", session_id)
    _again(admin, session_id=session_id)

    usage = ok(admin.get(f"/api/v1/chat/usage?sessionId={session_id}"))

    assert usage == {
        "session_id": session_id,
        "generations": 3,
        "prompt_tokens": 60,
        "completion_tokens": 6,
        "total_tokens": 66,
        "context_limit": 4000,
        "context_remaining": 4000 - 33,
        "source": "provider",
    }


def test_the_usage_of_an_empty_session_is_nothing(admin: Actor) -> None:
    usage = ok(admin.get(f"/api/v1/chat/usage?session_id={_new(admin)}"))

    assert (usage["generations"], usage["total_tokens"]) == (0, 0)
    assert (usage["context_limit"], usage["context_remaining"], usage["source"]) == (None, None, None)


def test_the_room_left_is_that_of_the_last_counted_turn_while_the_next_one_runs(
    admin: Actor, provider: ScriptedProvider
) -> None:
    provider.script(text="a", usage={"prompt_tokens": 100, "completion_tokens": 10})
    session_id = chat(admin, "one")["session_id"]
    begin(admin, told(**LONG), session_id)

    usage = ok(admin.get(f"/api/v1/chat/usage?sessionId={session_id}"))

    assert (usage["generations"], usage["total_tokens"], usage["context_remaining"]) == (2, 110, 4000 - 110)


def test_the_providers_word_stands_over_our_estimate(admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(words=100, usage={"prompt_tokens": 1, "completion_tokens": 0})

    usage = chat(admin, "hello")["usage"]

    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1, 0, 1)
    assert usage["source"] == "provider"


@pytest.mark.parametrize("script", [{"status": 401}, {"status": 429}, {"status": 500}, {"fault": "refuse"}])
def test_a_turn_that_was_refused_cost_nothing(admin: Actor, provider: ScriptedProvider, script: dict[str, Any]) -> None:
    session_id = _new(admin)
    provider.script(times=-1, **script)
    assert admin.post("/api/v1/chat", {"message": "hello", "session_id": session_id}).status_code >= 400

    usage = ok(admin.get(f"/api/v1/chat/usage?sessionId={session_id}"))

    assert (usage["generations"], usage["total_tokens"], usage["source"]) == (1, 0, None)
    assert answer_in(admin, session_id)["usage"] is None


def test_only_the_providers_own_counts_are_kept_where_it_is_so_configured(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    user = set_up(make_app({"openai": entry(provider)}, **SETTINGS, USAGE_PROVIDER_ONLY=True))
    provider.script({"text": "a", "usage": "off"}, {"text": "b", "usage": {"prompt_tokens": 5, "completion_tokens": 1}})

    uncounted = begin(user, "one")
    kinds = [event["type"] for event in uncounted.events()]
    counted = chat(user, "two", uncounted.session_id)

    assert "usage" not in kinds
    assert messages(user, uncounted.session_id)[1]["usage"] is None
    assert counted["usage"]["total_tokens"] == 6
    assert ok(user.get(f"/api/v1/chat/usage?sessionId={uncounted.session_id}"))["total_tokens"] == 6


# A provider that remembers by itself


def test_a_provider_that_remembers_is_told_where_to_go_on(dify_user: Actor, provider: ScriptedProvider) -> None:
    session_id = chat(dify_user, "one")["session_id"]
    chat(dify_user, "two", session_id)
    _again(dify_user, session_id=session_id)
    chat(dify_user, "three", session_id)

    begun, gone_on, again, after = (logged["body"].get("conversation_id", "") for logged in provider.log())

    assert begun == again == ""  # what it remembers holds the answer that is to be replaced
    assert gone_on
    assert after not in ("", gone_on)


def test_a_context_that_is_cleared_while_an_answer_runs_stays_cleared(
    dify_user: Actor, provider: ScriptedProvider
) -> None:
    begun = begin(dify_user, told(words=20, pace_ms=10))
    begun.read_until("content")
    ok(dify_user.delete(f"/api/v1/sessions/{begun.session_id}/context"))
    assert ended(dify_user, begun.generation_id)["status"] == "completed"

    chat(dify_user, "two", begun.session_id)

    assert provider.last()["body"].get("conversation_id", "") == ""


def test_nothing_runs_on_after_all_this(admin: Actor, app: OpenAPI) -> None:
    chat(admin, "hello")

    eventually(lambda: not services(app).runner.all())
