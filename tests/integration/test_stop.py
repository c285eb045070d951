"""The stop: at any moment, by any name, from any node; and what it says is true."""

import threading
import time
from random import Random
from typing import Any

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, add_user, ok, refused, set_up
from tests.chats import (
    Begun,
    answer_in,
    begin,
    chat,
    contents,
    ended,
    entry,
    eventually,
    parsed,
    prompt,
    raw_frames,
    services,
    shown,
    told,
)
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

LONG = {"words": 400, "pace_ms": 10}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    settings = {"RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}
    return make_app({"openai": entry(provider)}, AUTO_TITLE=False, **settings)


@pytest.fixture
def elsewhere(make_app: AppFactory, provider: ScriptedProvider, app: OpenAPI, admin: Actor) -> Actor:
    """The same user on another node."""
    return Actor(make_app({"openai": entry(provider)}, AUTO_TITLE=False), admin.tokens)


def _stop(user: Actor, **name: str) -> dict[str, Any]:
    return dict(ok(user.post("/api/v1/chat/stop", name)))


def _names(user: Actor, begun: Begun) -> dict[str, str]:
    """All names by which the generation can be stopped."""
    return {
        "generation_id": begun.generation_id,
        "message_id": answer_in(user, begun.session_id)["id"],
        "session_id": begun.session_id,
    }


@pytest.mark.parametrize("name", ["generation_id", "message_id", "session_id"])
def test_an_answer_is_stopped_by_each_of_its_names(admin: Actor, name: str) -> None:
    begun = begin(admin, told(**LONG))
    begun.read_until("content")

    stopped = _stop(admin, **{name: _names(admin, begun)[name]})

    assert stopped == {"generation_id": begun.generation_id, "state": "stopped"}
    answer = answer_in(admin, begun.session_id)
    assert (answer["status"], answer["end_reason"], answer["error_code"]) == ("stopped", "user_stop", None)


def test_a_generation_has_a_stop_of_its_own(admin: Actor) -> None:
    begun = begin(admin, told(**LONG))

    stopped = ok(admin.post(f"/api/v1/generations/{begun.generation_id}/stop"))

    assert stopped == {"generation_id": begun.generation_id, "state": "stopped"}


def test_in_mid_stream_the_providers_socket_closes_and_the_saved_text_is_the_sent_one(
    admin: Actor, provider: ScriptedProvider
) -> None:
    begun = begin(admin, told(**LONG))
    frames: list[str] = []
    reader = threading.Thread(target=lambda: frames.extend(raw_frames(begun.response.get_data(as_text=True))))
    reader.start()
    eventually(lambda: provider.log() and provider.last()["events_sent"] > 5)

    assert _stop(admin, session_id=begun.session_id)["state"] == "stopped"
    answered = time.monotonic()

    closed = provider.wait_closed()
    assert closed["end"] == "client_closed"
    assert closed["closed_mono"] - answered < 0.5
    reader.join(10)
    events = [event for _, event in parsed("\n\n".join(frames))]
    assert [event["type"] for event in events][-3:] == ["stop", "end", "complete"]
    assert [event["reason"] for event in events if event["type"] == "stop"] == ["user_stop"]
    answer = answer_in(admin, begun.session_id)
    assert answer["content"] == shown(events) == events[-1]["message"]["content"]
    assert answer["content"]
    assert closed["text_sent"].startswith(answer["content"])


@pytest.mark.parametrize("fault", ["no_first_byte", "silent_headers", "keepalive_comments"])
def test_a_provider_that_says_nothing_can_be_stopped(admin: Actor, provider: ScriptedProvider, fault: str) -> None:
    begun = begin(admin, told(fault=fault, after=0))
    provider.wait_requests(1)

    assert _stop(admin, session_id=begun.session_id)["state"] == "stopped"
    answered = time.monotonic()

    assert provider.wait_closed()["closed_mono"] - answered < 0.5
    answer = answer_in(admin, begun.session_id)
    assert (answer["status"], answer["content"], answer["usage"]) == ("stopped", "", None)
    assert [event["type"] for event in begun.events()] == ["start", "stop", "end", "complete"]


def test_an_answer_can_be_stopped_at_once(admin: Actor, provider: ScriptedProvider) -> None:
    for _ in range(10):
        begun = begin(admin, told(**LONG))

        assert _stop(admin, generation_id=begun.generation_id)["state"] == "stopped"

        assert answer_in(admin, begun.session_id)["status"] == "stopped"
    eventually(lambda: provider.stats()["open_streams"] == 0)


def test_a_second_stop_finds_it_finished(admin: Actor) -> None:
    begun = begin(admin, told(**LONG))
    _stop(admin, session_id=begun.session_id)

    for name, value in _names(admin, begun).items():
        assert _stop(admin, **{name: value})["state"] == "already_finished"


def test_two_stops_at_once_are_both_true(admin: Actor) -> None:
    begun = begin(admin, told(**LONG))
    begun.read_until("content")

    first, second = at_once(*[lambda: _stop(admin, generation_id=begun.generation_id)["state"]] * 2)

    assert "stopped" in (first, second)
    assert {first, second} <= {"stopped", "already_finished"}
    assert answer_in(admin, begun.session_id)["status"] == "stopped"


def test_after_the_end_there_is_nothing_to_stop(admin: Actor) -> None:
    whole = chat(admin, told(text="It is done."))

    assert _stop(admin, session_id=whole["session_id"])["state"] == "already_finished"

    answer = answer_in(admin, whole["session_id"])
    assert (answer["status"], answer["end_reason"], answer["content"]) == ("completed", "stop", "It is done.")


def test_a_stop_that_races_with_the_end_says_what_is_saved(admin: Actor) -> None:
    moments = Random(11)
    seen = set()
    for _ in range(40):
        begun = begin(admin, told(words=4, pace_ms=4))
        time.sleep(moments.uniform(0.005, 0.03))

        state = _stop(admin, generation_id=begun.generation_id)["state"]

        answer = answer_in(admin, begun.session_id)
        assert (state, answer["status"]) in {("stopped", "stopped"), ("already_finished", "completed")}
        assert begun.events()[-1]["message"]["status"] == answer["status"]
        seen.add(state)
    assert seen == {"stopped", "already_finished"}


def test_who_waits_for_the_whole_answer_gets_what_there_is(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = ok(admin.post("/api/v1/sessions", {}), 201)["id"]
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(chat(admin, told(**LONG), session_id)))
    waiting.start()
    eventually(lambda: provider.log() and provider.last()["events_sent"] > 5)

    _stop(admin, session_id=session_id)
    waiting.join(10)

    (answer,) = answers
    assert answer["message"]["status"] == "stopped"
    assert answer["message"]["content"] == answer_in(admin, session_id)["content"]


def test_the_session_goes_on_after_a_stop_with_what_was_said(admin: Actor, provider: ScriptedProvider) -> None:
    begun = begin(admin, told("one", **LONG))
    begun.read_until("content")
    _stop(admin, session_id=begun.session_id)
    partial = answer_in(admin, begun.session_id)["content"]

    chat(admin, "two", begun.session_id)

    assert [content for _, content in prompt(provider.last())][1:] == [partial, "two"]


def test_what_a_stopped_answer_cost_is_an_estimate(admin: Actor) -> None:
    begun = begin(admin, told(**LONG))
    begun.read_until("content")
    _stop(admin, session_id=begun.session_id)

    usage = answer_in(admin, begun.session_id)["usage"]

    assert usage["source"] == "partial"
    assert usage["completion_tokens"] > 0


def test_half_a_tool_call_is_not_kept(admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(tool_calls=[{"name": "clock", "arguments": {"zone": "UTC"}}], tool_fragments=8, pace_ms=200)
    begun = begin(admin, "what time is it?")
    eventually(lambda: provider.log() and provider.last()["events_sent"] > 2)

    _stop(admin, session_id=begun.session_id)

    assert answer_in(admin, begun.session_id)["parts"] == []
    assert "tool_call" not in [event["type"] for event in begun.events()]


def test_another_users_answer_cannot_be_stopped(admin: Actor, app: OpenAPI) -> None:
    other = add_user(admin, app, "linus")
    begun = begin(admin, told(**LONG))

    for name, value in _names(admin, begun).items():
        body = other.post("/api/v1/chat/stop", {name: value})
        refused(body, 404, "session_not_found" if name == "session_id" else "generation_not_found")
    refused(other.post(f"/api/v1/generations/{begun.generation_id}/stop"), 404, "generation_not_found")

    assert answer_in(admin, begun.session_id)["status"] == "running"


def test_a_stop_names_something_that_is_there(admin: Actor) -> None:
    empty = ok(admin.post("/api/v1/sessions", {}), 201)["id"]
    whole = chat(admin, "hello")

    refused(admin.post("/api/v1/chat/stop", {}), 422, "invalid_request")
    refused(admin.post("/api/v1/chat/stop", {"session_id": "sess_none"}), 404, "session_not_found")
    refused(admin.post("/api/v1/chat/stop", {"session_id": empty}), 404, "generation_not_found")
    question = whole["message"]["parent_id"]
    refused(admin.post("/api/v1/chat/stop", {"message_id": question}), 404, "generation_not_found")


def test_the_owner_hears_of_a_stop_that_another_node_was_told(
    app: OpenAPI, admin: Actor, elsewhere: Actor, provider: ScriptedProvider
) -> None:
    begun = begin(admin, told(**LONG))
    begun.read_until("content")

    told_elsewhere = elsewhere.post("/api/v1/chat/stop", {"session_id": begun.session_id})
    assert ok(told_elsewhere, 202)["state"] == "stopping"
    services(app).keeper.tick(all_duties=False)

    generation = ended(elsewhere, begun.generation_id)
    assert (generation["status"], generation["end_reason"]) == ("stopped", "user_stop")
    assert provider.wait_closed()["end"] == "client_closed"
    again = elsewhere.post("/api/v1/chat/stop", {"session_id": begun.session_id})
    assert ok(again)["state"] == "already_finished"


def test_an_answer_ends_when_its_session_is_deleted(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    begun = begin(admin, told(**LONG))
    provider.wait_requests(1)

    ok(admin.delete(f"/api/v1/sessions/{begun.session_id}"))

    assert provider.wait_closed()["end"] == "client_closed"
    eventually(lambda: not services(app).runner.all())
    refused(admin.get(f"/api/v1/generations/{begun.generation_id}"), 404, "generation_not_found")


def test_an_answer_ends_when_its_session_is_deleted_at_another_node(
    app: OpenAPI, admin: Actor, elsewhere: Actor, provider: ScriptedProvider
) -> None:
    begun = begin(admin, told(**LONG))
    provider.wait_requests(1)
    ok(elsewhere.delete(f"/api/v1/sessions/{begun.session_id}"))

    services(app).keeper.tick(all_duties=False)

    assert provider.wait_closed()["end"] == "client_closed"
    eventually(lambda: not services(app).runner.all())


def test_answers_of_a_deleted_user_end(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    user = add_user(admin, app, "grace")
    begin(user, told(**LONG))
    provider.wait_requests(1)
    ok(admin.delete(f"/api/v1/users/{user.id}"))

    services(app).keeper.tick(all_duties=False)

    assert provider.wait_closed()["end"] == "client_closed"


@pytest.mark.usefixtures("every_database")
def test_stops_sends_and_deletions_at_once_leave_nothing_running(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    app = make_app({"openai": entry(provider)}, AUTO_TITLE=False, RATE_LIMIT_CHAT="10000 per minute")
    user = set_up(app)
    session_ids = [ok(user.post("/api/v1/sessions", {}), 201)["id"] for _ in range(4)]
    provider.script(words=20, pace_ms=2, times=-1)

    def use(number: int) -> set[int]:
        session_id = session_ids[number % 4]
        statuses = set()
        for step in range(6):
            if step == 5 and number == 7:
                statuses.add(user.delete(f"/api/v1/sessions/{session_id}").status_code)
            elif (step + number) % 3 == 0:
                statuses.add(user.post("/api/v1/chat/stop", {"session_id": session_id}).status_code)
            else:
                statuses.add(user.post("/api/v1/chat/stream", {"message": "go", "session_id": session_id}).status_code)
        return statuses

    statuses = set().union(*at_once(*[lambda n=n: use(n) for n in range(8)]))  # type: ignore[misc]

    assert statuses <= {200, 202, 404, 409}
    eventually(lambda: not services(app).runner.all())
    for session_id in session_ids[:3]:
        said = contents(user, session_id)
        assert len(said) % 2 == 0
        assert answer_in(user, session_id)["status"] in ("completed", "stopped")
