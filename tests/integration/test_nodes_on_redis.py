"""Two nodes on one database and one Redis: what one begins, the other one reads, stops and follows."""

import json
import threading
import time

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from services import session_feed
from tests.actors import Actor, ok, set_up
from tests.chats import (
    Event,
    answer_in,
    begin,
    chat,
    ended,
    entry,
    eventually,
    let_lease_run_out,
    parsed,
    raw_frames,
    services,
    shown,
    told,
)
from tests.conftest import AppFactory
from tests.listener import Listener
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis

LONG = {"words": 400, "pace_ms": 10}


@pytest.fixture
def nodes(make_app: AppFactory, provider: ScriptedProvider, own_redis: Redis) -> tuple[OpenAPI, OpenAPI]:
    settings = {
        "AUTO_TITLE": False,
        "REDIS_URL": own_redis.url,
        "RATE_LIMIT": "10000 per minute",
        "RATE_LIMIT_CHAT": "10000 per minute",
        "SSE_HEARTBEAT_INTERVAL_MS": 1000,
    }
    first, second = (make_app({"openai": entry(provider)}, **settings) for _ in range(2))
    return first, second


@pytest.fixture
def here(nodes: tuple[OpenAPI, OpenAPI]) -> Actor:
    """A user at the first node."""
    return set_up(nodes[0])


@pytest.fixture
def there(nodes: tuple[OpenAPI, OpenAPI], here: Actor) -> Actor:
    """The same user at the second node."""
    return Actor(nodes[1], here.tokens)


def _follow(user: Actor, generation_id: str, after: int = 0) -> TestResponse:
    return user.get(f"/api/v1/generations/{generation_id}/events?after={after}")


def _frames(user: Actor, generation_id: str, after: int = 0) -> list[str]:
    return raw_frames(_follow(user, generation_id, after).get_data(as_text=True))


def test_reading_on_at_the_other_node_after_any_event_gives_the_same_bytes(here: Actor, there: Actor) -> None:
    session_id = None
    for turn in range(2):
        begun = begin(here, told(f"turn {turn}", words=25, pace_ms=3, reasoning="a b c d"), session_id)
        session_id = begun.session_id
        frames = raw_frames(begun.response.get_data(as_text=True))
        assert len(frames) > 8

        for seen in range(len(frames) + 1):
            assert _frames(there, begun.generation_id, seen) == frames[seen:]


def test_reading_at_both_nodes_while_the_answer_is_written_gives_the_same_bytes(here: Actor, there: Actor) -> None:
    begun = begin(here, told(words=80, pace_ms=10))
    begun.read_until("content")

    whole, *others = at_once(
        lambda: _frames(here, begun.generation_id),
        *[lambda: _frames(there, begun.generation_id)] * 5,
        *[lambda: _frames(there, begun.generation_id, 2)] * 2,
    )

    assert len(whole) > 10
    assert others == [whole] * 5 + [whole[2:]] * 2


def test_a_reader_elsewhere_gets_events_as_they_come(here: Actor, there: Actor) -> None:
    begun = begin(here, told(words=8, pace_ms=10, fault="stall", after=6))
    begun.read_until("content")

    response = _follow(there, begun.generation_id)
    first = next(frame for frame in response.iter_encoded() if b'"type":"content"' in frame)

    assert first
    assert ok(here.get(f"/api/v1/generations/{begun.generation_id}"))["status"] == "running"
    response.close()


# Stop


def test_a_stop_at_the_other_node_is_true(here: Actor, there: Actor, provider: ScriptedProvider) -> None:
    begun = begin(here, told(**LONG))
    begun.read_until("content")

    stopped = ok(there.post("/api/v1/chat/stop", {"session_id": begun.session_id}))
    answered = time.monotonic()

    assert stopped == {"generation_id": begun.generation_id, "state": "stopped"}
    closed = provider.wait_closed()
    assert closed["end"] == "client_closed"
    assert closed["closed_mono"] - answered < 0.5
    events = [event for _, event in parsed("\n\n".join(_frames(there, begun.generation_id)))]
    answer = answer_in(there, begun.session_id)
    assert (answer["status"], answer["end_reason"]) == ("stopped", "user_stop")
    assert answer["content"] == shown(events) != ""
    assert closed["text_sent"].startswith(answer["content"])
    again = ok(there.post("/api/v1/chat/stop", {"session_id": begun.session_id}))
    assert again["state"] == "already_finished"


def test_stops_from_both_nodes_at_once_are_true(here: Actor, there: Actor) -> None:
    for _ in range(5):
        begun = begin(here, told(**LONG))
        path = f"/api/v1/generations/{begun.generation_id}/stop"

        states = at_once(lambda: ok(here.post(path))["state"], lambda: ok(there.post(path))["state"])  # noqa: B023  # at once

        assert "stopped" in states
        assert set(states) <= {"stopped", "already_finished"}
        assert answer_in(there, begun.session_id)["status"] == "stopped"


def test_a_stop_of_what_a_dead_node_began_is_under_way(
    nodes: tuple[OpenAPI, OpenAPI], here: Actor, there: Actor
) -> None:
    begun = begin(here, told(words=1500, pace_ms=10))
    services(nodes[0]).runner._live.clear()  # as if it was dead: nobody can tell it anything

    stopped = ok(there.post(f"/api/v1/generations/{begun.generation_id}/stop"), 202)

    assert stopped["state"] == "stopping"


# Following a session


def test_the_second_tab_at_the_other_node_sees_each_turn_without_asking_the_database(
    here: Actor, there: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_feed, "_POLL_S", 60)
    session_id = ok(here.post("/api/v1/sessions", {}), 201)["id"]
    path = f"/api/v1/chat/{session_id}/stream"
    tabs = [Listener(user.get(path)) for user in (here, there, there)]

    answers = [chat(user, told("go", words=20, pace_ms=2), session_id) for user in (here, there)]

    for tab in tabs:
        for answer in answers:
            assert tab.generation()[-1].data["response"] == answer["message"]["content"]


# Redis away


@pytest.mark.parametrize("fault", ["stopped", "frozen"])
def test_readers_elsewhere_get_every_event_once_though_redis_was_away(
    here: Actor, there: Actor, own_redis: Redis, fault: str
) -> None:
    begun = begin(here, told(words=500, pace_ms=10))
    begun.read_until("content")
    found: dict[str, list[str]] = {}
    readers = [
        threading.Thread(target=lambda name, user: found.update({name: _frames(user, begun.generation_id)}), args=one)
        for one in (("here", here), ("there", there))
    ]
    for reader in readers:
        reader.start()
    time.sleep(0.5)

    own_redis.stop() if fault == "stopped" else own_redis.freeze()
    time.sleep(1)
    own_redis.start_again() if fault == "stopped" else own_redis.thaw()
    for reader in readers:
        reader.join(30)

    assert len(found["here"]) > 20
    assert found["there"] == found["here"]


def test_readers_elsewhere_get_the_whole_text_when_it_ends_while_redis_is_away(
    here: Actor, there: Actor, own_redis: Redis
) -> None:
    begun = begin(here, told(words=150, pace_ms=10))
    begun.read_until("content")
    response = _follow(there, begun.generation_id)
    seen = b"".join(frame for _, frame in zip(range(4), response.iter_encoded(), strict=False))

    own_redis.stop()
    rest = b"".join(response.iter_encoded())

    events = parsed((seen + rest).decode())
    numbers = [number for number, _ in events]
    assert numbers == sorted(set(numbers))
    assert events[-1][1]["type"] == "complete"
    assert shown([event for _, event in events]) == answer_in(here, begun.session_id)["content"]


def test_a_node_that_ends_has_told_everything(nodes: tuple[OpenAPI, OpenAPI], here: Actor, there: Actor) -> None:
    from api.lifecycle import drain

    begun = begin(here, told(**LONG))
    begun.read_until("content")

    drain(nodes[0], 0)

    events = [event for _, event in parsed("\n\n".join(_frames(there, begun.generation_id)))]
    assert [event["type"] for event in events][-3:] == ["stop", "end", "complete"]
    assert events[-1]["message"]["end_reason"] == "shutdown"
    assert shown(events) == events[-1]["message"]["content"]
    assert ended(there, begun.generation_id)["status"] == "interrupted"


# Nodes that die


def _replayed(node: OpenAPI, generation_id: str) -> list[Event]:
    """What is in Redis of it."""
    return [json.loads(event) for event in services(node).event_streams._event_log.replay(generation_id)]


def test_readers_of_a_dead_node_get_its_whole_text_and_the_end(
    nodes: tuple[OpenAPI, OpenAPI], here: Actor, there: Actor
) -> None:
    begun = begin(here, told(words=30, pace_ms=5, reasoning="let me think", fault="stall", after=25))
    begun.read_until("content")
    response = _follow(there, begun.generation_id)
    eventually(lambda: len(_replayed(nodes[1], begun.generation_id)) > 5)
    time.sleep(0.5)  # it has stalled by now
    log = _replayed(nodes[1], begun.generation_id)
    assert answer_in(here, begun.session_id)["content"] == ""  # no checkpoint

    let_lease_run_out(nodes[0], begun.generation_id)
    services(nodes[1]).keeper.tick(all_duties=True)

    told_there = parsed(response.get_data(as_text=True))
    events = [event for _, event in told_there]
    assert events[: len(log)] == log
    assert [event["type"] for event in events[len(log) :]] == ["replace", "complete"]
    answer = answer_in(there, begun.session_id)
    assert (answer["status"], answer["end_reason"]) == ("interrupted", "node_lost")
    assert answer["content"] == shown(events) != ""
    assert [part["type"] for part in answer["parts"]] == ["reasoning", "text"]
    for seen in (0, 3, len(log)):
        assert parsed("\n\n".join(_frames(there, begun.generation_id, seen))) == told_there[seen:]
    ahead = len(log) + 5  # a reader at the dead node, who has seen events that went no further
    assert parsed("\n\n".join(_frames(there, begun.generation_id, ahead))) == told_there[-2:]


def test_the_longer_of_the_checkpoint_and_the_log_is_kept(
    nodes: tuple[OpenAPI, OpenAPI], here: Actor, there: Actor
) -> None:
    begun = begin(here, told(words=30, pace_ms=2, fault="stall", after=25))
    begun.read_until("content")
    eventually(lambda: len(_replayed(nodes[1], begun.generation_id)) > 2)
    (live,) = services(nodes[0]).runner.all()
    time.sleep(0.5)
    live.answer._text.add(" and more, of which the log does not know")
    live.answer.size += 1
    services(nodes[0]).keeper.tick(all_duties=False)
    saved = answer_in(here, begun.session_id)["content"]

    let_lease_run_out(nodes[0], begun.generation_id)
    services(nodes[1]).keeper.tick(all_duties=True)

    events = [event for _, event in parsed("\n\n".join(_frames(there, begun.generation_id)))]
    assert [event["type"] for event in events[-2:]] == ["replace", "complete"]
    assert shown(events) == answer_in(there, begun.session_id)["content"] == saved


def test_a_former_owner_is_told_at_once_that_it_was_taken_for_dead(
    nodes: tuple[OpenAPI, OpenAPI], here: Actor, provider: ScriptedProvider
) -> None:
    begun = begin(here, told(**LONG))
    begun.read_until("content")
    let_lease_run_out(nodes[0], begun.generation_id)

    services(nodes[1]).keeper.tick(all_duties=True)

    assert provider.wait_closed()["end"] == "client_closed"
    eventually(lambda: not services(nodes[0]).runner.all())
    events = begun.events()
    answer = answer_in(here, begun.session_id)
    assert (answer["status"], answer["end_reason"]) == ("interrupted", "node_lost")
    assert shown(events) == answer["content"]


def test_readers_learn_of_the_end_though_redis_was_away_when_it_was_written(
    nodes: tuple[OpenAPI, OpenAPI], here: Actor, there: Actor, own_redis: Redis
) -> None:
    begun = begin(here, told(words=30, pace_ms=5, fault="stall", after=20))
    begun.read_until("content")
    response = _follow(there, begun.generation_id)
    eventually(lambda: len(_replayed(nodes[1], begun.generation_id)) > 2)
    own_redis.freeze()
    let_lease_run_out(nodes[0], begun.generation_id)
    services(nodes[1]).keeper.tick(all_duties=True)
    own_redis.thaw()

    events = parsed(response.get_data(as_text=True))

    assert events[-1][1]["type"] == "complete"
    assert events[-1][1]["message"]["status"] == "interrupted"
    assert [number for number, _ in events] == sorted({number for number, _ in events})


def test_a_reader_is_sent_away_after_signing_out(here: Actor, there: Actor) -> None:
    begun = begin(here, told(words=2, fault="stall", after=1))
    begun.read_until("content")
    response = _follow(there, begun.generation_id)
    assert next(iter(response.iter_encoded()))

    ok(here.post("/api/v1/auth/logout"))
    rest = b"".join(response.iter_encoded())

    assert b'"type":"complete"' not in rest
    eventually(lambda: here.get(f"/api/v1/generations/{begun.generation_id}").status_code == 401)
