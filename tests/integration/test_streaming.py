"""Streams: their order and numbers, reading on after a cut, several readers, and readers who leave."""

import gc
import json
import threading
import weakref

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.actors import Actor, ok, refused
from tests.chats import (
    answer_in,
    begin,
    ended,
    entry,
    events_of,
    eventually,
    parsed,
    raw_frames,
    services,
    shown,
    told,
)
from tests.conftest import ECHO, AppFactory
from tests.scripted_provider.client import ScriptedProvider


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    providers = {"openai": entry(provider), **ECHO}
    return make_app(providers, AUTO_TITLE=False, RATE_LIMIT="10000 per minute", RATE_LIMIT_CHAT="10000 per minute")


def _follow(user: Actor, generation_id: str, after: int | str | None = None) -> TestResponse:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    return user.get(f"/api/v1/generations/{generation_id}/events", headers=headers)


def test_a_stream_begins_with_start_and_ends_with_complete(admin: Actor) -> None:
    events = begin(admin, told(text="Once upon a time.", reasoning="Think first.", pace_ms=1)).events()

    kinds = [event["type"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-4:] == ["usage", "stop", "end", "complete"]
    assert set(kinds[1:-4]) == {"reasoning", "content"}
    first_content = kinds.index("content")
    assert set(kinds[1:first_content]) == {"reasoning"}
    start, complete = events[0], events[-1]["message"]
    assert start["messageId"] == complete["id"]
    assert start["generationId"] == complete["generation_id"]
    assert start["sessionId"] == complete["session_id"]
    assert (start["provider"], start["model"]) == (complete["provider"], complete["model"]) == ("openai", "sees")
    assert events[-3]["reason"] == "stop"


def test_the_numbers_of_events_go_from_one_without_a_gap(admin: Actor) -> None:
    begun = begin(admin, told(words=30, pace_ms=2))

    ids = [number for number, _ in parsed(begun.response.get_data(as_text=True))]

    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) > 6


def test_what_was_streamed_is_what_is_saved(admin: Actor) -> None:
    begun = begin(admin, told(words=60, pace_ms=1))
    events = begun.events()

    saved = answer_in(admin, begun.session_id)

    assert shown(events) == saved["content"] == events[-1]["message"]["content"]
    assert len(saved["content"].split()) == 60


def test_a_message_that_the_provider_replaces_is_replaced_in_the_stream_too(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    from tests.actors import set_up

    dify = {"adapter_class": "adapters.dify_adapter.DifyAdapter"}
    dify["config"] = {"api_key": "app-for-tests", "base_url": provider.dify_url}  # type: ignore[assignment]
    user = set_up(make_app({"dify": dify}, AUTO_TITLE=False))
    provider.script(text="something rude", replace="something polite")

    begun = begin(user, "hello")
    events = begun.events()

    assert "replace" in [event["type"] for event in events]
    assert shown(events) == answer_in(user, begun.session_id)["content"] == "something polite"


def test_no_event_has_a_name_so_that_every_browser_hears_it(admin: Actor) -> None:
    text = begin(admin, "hello").response.get_data(as_text=True)

    assert "event:" not in text
    assert text.startswith("retry: ")


def test_events_that_are_there_together_leave_together(admin: Actor) -> None:
    begun = begin(admin, told(words=8, pace_ms=5))
    first, *rest = begun.response.iter_encoded()
    again = list(_follow(admin, begun.generation_id).iter_encoded())

    assert [frame.split("\n")[0] for frame in first.decode().split("\n\n")] == ["retry: 2000", "id: 1", ""]
    assert again == [b"retry: 2000\n\n", b"".join([first, *rest]).removeprefix(b"retry: 2000\n\n")]


def test_nothing_on_the_way_may_keep_a_stream(admin: Actor) -> None:
    headers = begin(admin, "hello").response.headers

    assert "no-cache" in headers["Cache-Control"]
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


def test_a_quiet_stream_is_kept_alive(make_app: AppFactory, provider: ScriptedProvider) -> None:
    from tests.actors import set_up

    user = set_up(make_app({"openai": entry(provider)}, AUTO_TITLE=False, SSE_HEARTBEAT_INTERVAL_MS=100))

    text = begin(user, told(text="late", first_token_ms=700)).response.get_data(as_text=True)

    start, late = text.index('"type":"start"'), text.index('"type":"content"')
    assert text[start:late].count(": ping\n\n") >= 3


def test_reading_on_after_any_event_gives_the_same_bytes(admin: Actor) -> None:
    begun = begin(admin, told(words=25, pace_ms=3, reasoning="a b c d"))
    frames = raw_frames(begun.response.get_data(as_text=True))

    for seen in range(len(frames) + 1):
        rest = raw_frames(_follow(admin, begun.generation_id, seen).get_data(as_text=True))
        assert rest == frames[seen:]


def test_reading_on_while_the_answer_is_written_gives_the_same_bytes(admin: Actor) -> None:
    begun = begin(admin, told(words=60, pace_ms=10))
    begun.read_until("content")

    late = raw_frames(_follow(admin, begun.generation_id, 2).get_data(as_text=True))
    whole = raw_frames(_follow(admin, begun.generation_id).get_data(as_text=True))

    assert late == whole[2:]
    assert json.loads(whole[-1].split("data: ")[1])["type"] == "complete"


def test_the_place_can_be_named_in_the_query_and_the_header_wins(admin: Actor) -> None:
    begun = begin(admin, "hello")
    frames = raw_frames(begun.response.get_data(as_text=True))
    path = f"/api/v1/generations/{begun.generation_id}/events?after=1"

    assert raw_frames(admin.get(path).get_data(as_text=True)) == frames[1:]
    assert raw_frames(admin.get(path, headers={"Last-Event-ID": "3"}).get_data(as_text=True)) == frames[3:]


def test_two_readers_each_get_everything(admin: Actor) -> None:
    begun = begin(admin, told(words=40, pace_ms=5))
    second: list[str] = []
    reader = threading.Thread(
        target=lambda: second.extend(raw_frames(_follow(admin, begun.generation_id).get_data(as_text=True)))
    )
    reader.start()

    first = raw_frames(begun.response.get_data(as_text=True))
    reader.join(20)

    assert first == second


def test_the_answer_is_completed_although_its_reader_leaves(admin: Actor, provider: ScriptedProvider) -> None:
    begun = begin(admin, told(words=50, pace_ms=5))
    begun.read_until("content")
    begun.response.close()

    assert ended(admin, begun.generation_id)["status"] == "completed"
    assert answer_in(admin, begun.session_id)["content"] == provider.wait_closed()["text_sent"]
    assert provider.last()["end"] == "complete"


def test_an_answer_that_nobody_ever_reads_is_completed(admin: Actor) -> None:
    begun = begin(admin, told(words=20, pace_ms=5))

    assert ended(admin, begun.generation_id)["status"] == "completed"


def _forget_logs(app: OpenAPI) -> None:
    """As after a restart: nothing of the streams is in memory."""
    services(app).event_streams._event_log.rings.clear()


def test_a_log_that_is_gone_is_made_up_from_the_saved_answer(admin: Actor, app: OpenAPI) -> None:
    begun = begin(admin, told(words=30, pace_ms=2))
    whole = parsed(begun.response.get_data(as_text=True))
    last, complete = whole[-1]
    _forget_logs(app)

    again = parsed(_follow(admin, begun.generation_id).get_data(as_text=True))

    assert [event["type"] for _, event in again] == ["start", "replace", "complete"]
    assert [number for number, _ in again] == [1, last - 1, last]
    assert again[0] == whole[0]
    assert again[2][1] == complete
    assert shown([event for _, event in again]) == complete["message"]["content"]


def test_a_reader_who_comes_back_after_the_log_is_gone_gets_what_is_missing(admin: Actor, app: OpenAPI) -> None:
    begun = begin(admin, told(words=30, pace_ms=2))
    whole = parsed(begun.response.get_data(as_text=True))
    _forget_logs(app)

    for seen in range(1, len(whole) + 1):
        rest = parsed(_follow(admin, begun.generation_id, seen).get_data(as_text=True))
        assert all(number > seen for number, _ in rest)
        before = [event for _, event in whole[:seen]]
        assert shown(before + [event for _, event in rest]) == whole[-1][1]["message"]["content"]
        assert [event["type"] for _, event in rest][-1:] == (["complete"] if seen < len(whole) else [])


def test_another_users_stream_is_not_found(admin: Actor, other_user: Actor) -> None:
    begun = begin(admin, told(words=20, pace_ms=5))

    for response in (
        _follow(other_user, begun.generation_id),
        other_user.get(f"/api/v1/generations/{begun.generation_id}"),
    ):
        refused(response, 404, "generation_not_found")


def test_a_stream_of_nothing_is_not_found(admin: Actor) -> None:
    refused(_follow(admin, "gen_00000000000000000000000000"), 404, "generation_not_found")


@pytest.mark.parametrize("place", ["x", "-1", "1.5", "0x10", "1 2", "²", "9" * 10, "1,2", "null"])
def test_a_place_that_is_none_of_ours_is_refused(admin: Actor, place: str) -> None:
    begun = begin(admin, "hello")

    refused(_follow(admin, begun.generation_id, place), 422, "invalid_event_id")


def test_a_place_after_the_end_gives_an_empty_stream(admin: Actor) -> None:
    begun = begin(admin, "hello")
    begun.events()

    assert raw_frames(_follow(admin, begun.generation_id, 999_999_999).get_data(as_text=True)) == []


def test_the_usage_can_be_left_out_of_streams(make_app: AppFactory) -> None:
    from tests.actors import set_up

    user = set_up(make_app(USAGE_EMIT=False))

    events = begin(user, "hello").events()

    assert [event["type"] for event in events][-3:] == ["stop", "end", "complete"]
    assert events[-1]["message"]["usage"]["source"] == "provider"


def test_the_usage_tells_the_room_that_is_left(admin: Actor) -> None:
    events = begin(admin, told(text="yes", usage={"prompt_tokens": 300, "completion_tokens": 40})).events()

    (usage,) = [event["usage"] for event in events if event["type"] == "usage"]

    assert usage == {
        "prompt_tokens": 300,
        "completion_tokens": 40,
        "total_tokens": 340,
        "context_limit": 4000,
        "context_remaining": 3660,
        "source": "provider",
    }


def test_a_failure_is_an_event_and_the_partial_answer_is_in_the_last_one(admin: Actor) -> None:
    begun = begin(admin, told(words=30, pace_ms=1, fault="cut"))
    events = begun.events()

    kinds = [event["type"] for event in events]
    assert kinds[-3:] == ["error", "end", "complete"]
    assert "stop" not in kinds
    (error,) = [event for event in events if event["type"] == "error"]
    assert error["code"] == "upstream_cut"
    assert error["retryable"] is True
    assert error["message"]
    complete = events[-1]["message"]
    assert (complete["status"], complete["end_reason"]) == ("failed", "upstream_cut")
    assert complete["content"] == shown(events) != ""


def test_a_stream_whose_session_is_deleted_ends_with_the_reason(admin: Actor) -> None:
    begun = begin(admin, told(words=200, pace_ms=10))
    begun.read_until("content")

    ok(admin.delete(f"/api/v1/sessions/{begun.session_id}"))
    events = events_of(begun.response)

    assert (events[-1]["type"], events[-1]["code"]) == ("error", "generation_lost")


@pytest.fixture
def elsewhere(make_app: AppFactory, provider: ScriptedProvider, app: OpenAPI, admin: Actor) -> Actor:
    """The same user on another node."""
    return Actor(make_app({"openai": entry(provider)}, AUTO_TITLE=False), admin.tokens)


def test_a_stream_of_another_node_gives_the_whole_text_once_it_is_there(admin: Actor, elsewhere: Actor) -> None:
    begun = begin(admin, told(words=40, pace_ms=10))
    begun.read_until("content")

    followed = [event for _, event in parsed(_follow(elsewhere, begun.generation_id).get_data(as_text=True))]

    assert [event["type"] for event in followed] == ["start", "replace", "complete"]
    assert shown(followed) == answer_in(admin, begun.session_id)["content"]


def test_reading_on_at_another_node_ends_with_the_whole_text(admin: Actor, elsewhere: Actor) -> None:
    begun = begin(admin, told(words=40, pace_ms=10))
    begun.read_until("content")

    followed = parsed(_follow(elsewhere, begun.generation_id, 2).get_data(as_text=True))

    assert [event["type"] for _, event in followed] == ["replace", "complete"]
    assert all(number > 2 for number, _ in followed)


def test_a_stream_of_another_node_whose_session_is_deleted_ends(admin: Actor, elsewhere: Actor) -> None:
    begun = begin(admin, told(words=500, pace_ms=10))
    begun.read_until("content")
    following = _follow(elsewhere, begun.generation_id)

    ok(admin.delete(f"/api/v1/sessions/{begun.session_id}"))

    events = events_of(following)
    assert [event["type"] for event in events] == ["start", "error"]
    assert events[-1]["code"] == "generation_lost"


def test_many_streams_at_once_stay_apart(admin: Actor) -> None:
    begun = [begin(admin, told(text=f"answer number {n} of many", pace_ms=3)) for n in range(12)]

    assert [shown(one.events()) for one in begun] == [f"answer number {n} of many" for n in range(12)]


def test_nothing_is_kept_of_a_finished_generation_but_its_log(admin: Actor, app: OpenAPI) -> None:
    begun = [begin(admin, told(words=80, pace_ms=10)) for _ in range(5)]
    lives = [weakref.ref(live) for live in services(app).runner.all()]
    assert len(lives) == 5
    for one in begun:
        one.events()
    begun.clear()
    eventually(lambda: not services(app).runner.all())

    def are_gone() -> bool:
        gc.collect()
        return not any(live() for live in lives)

    eventually(are_gone)
