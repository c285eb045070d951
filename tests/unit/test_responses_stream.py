"""A log as the numbered events of a response: whole, from any number on, and where the log has gone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from api.openai.responses_json import response_json
from api.openai.responses_stream import ResponseWriter
from domain import deltas, events
from domain.generation import EndReason, GenerationStatus
from domain.messages import Message, MessageRole, text_of
from domain.usage import Usage
from services.answer import Answer
from services.event_stream_service import Item
from services.response_service import StoredResponse

Told = dict[str, Any]
LogItems = list[Item]
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
TEXT = [deltas.TextDelta(word) for word in ("All ", "is ", "well.")]
THOUGHTS = [deltas.ReasoningDelta(word) for word in ("Hm, ", "well")]
CALLS = [
    deltas.ToolCallDelta(0, "call_1", "weather", '{"city":'),
    deltas.ToolCallDelta(1, "call_2", "time", "{}"),
    deltas.ToolCallDelta(0, arguments='"Bonn"}'),
]
PICTURE = deltas.ImageDelta("https://pictures/1.png", "one")
ANSWERS = {
    "text": TEXT,
    "reasoning": [*THOUGHTS, *TEXT],
    "calls": [*THOUGHTS, *TEXT, *CALLS],
    "calls alone": CALLS,
    "pictures": [*TEXT, PICTURE],
    "a picture alone": [PICTURE],
    "gone on with": [*TEXT, deltas.Restart(), deltas.Replacement("All is well. And more.")],
    "begun anew": [*THOUGHTS, *TEXT, deltas.Restart(), deltas.Replacement("Something else.", "Hm")],
    "late thoughts": [*TEXT, *THOUGHTS],
    "nothing": [],
}


class Made:
    """A response with its log."""

    def __init__(
        self,
        said: Sequence[deltas.Delta],
        status: GenerationStatus = GenerationStatus.COMPLETED,
        end_reason: EndReason = EndReason.STOP,
        *,
        background: bool = False,
        error: events.Error | None = None,
    ) -> None:
        answer, log = Answer(), [events.encode(events.Start("msg_m", "gen_1", "sess_1", "echo", "echo"))]
        for delta in said:
            answer.add(delta)
            log += answer.take_events()
        whole = end_reason is EndReason.STOP
        if whole:
            answer.close()
        parts = answer.parts(complete=whole)
        self.message = Message(
            "msg_m", "sess_1", None, MessageRole.ASSISTANT, text_of(parts), parts, status, end_reason,
            error.code if error else None, "echo", "echo", Usage(3, 4), "gen_1", MOMENT,
        )  # fmt: skip
        closing = [error or events.Stop(end_reason), events.End(), events.Complete(self.message)]
        log += answer.take_events() + [events.encode(event) for event in closing]
        self.log: LogItems = list(enumerate(log, 1))
        request = {"model": "public", "input": [], "metadata": {"a": "b"}}
        text = error.message if error else None
        self.stored = StoredResponse("resp_x", request, background, None, MOMENT, "gen_1", self.message, text, MOMENT)

    def events(self, after: int = -1, log: LogItems | None = None) -> list[Told]:
        writer = ResponseWriter(self.stored, lambda *_: self.stored, after)
        return told(b"".join(writer.frames(self.log if log is None else log)))

    @property
    def without_log(self) -> LogItems:
        """What the database tells in place of the log."""
        last = len(self.log)
        replaced = events.encode(events.Replace(content=self.message.content))
        return [self.log[0], (last - 1, replaced), self.log[-1]]


def told(stream: bytes) -> list[Told]:
    frames = [frame.split("\n") for frame in stream.decode().split("\n\n") if frame]
    found = [(frame[0], json.loads(frame[1].removeprefix("data: "))) for frame in frames]
    assert all(name == f"event: {event['type']}" for name, event in found)
    return [event for _, event in found]


def kinds(told: Sequence[Told]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("background", [False, True])
def test_from_any_number_on_it_is_the_same_stream(name: str, background: bool) -> None:
    made = Made(ANSWERS[name], background=background)
    whole = made.events()

    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    for after in range(-1, len(whole) + 1):
        assert made.events(after) == whole[after + 1 :]


@pytest.mark.parametrize("name", ANSWERS)
def test_the_items_that_are_streamed_are_those_of_the_response(name: str) -> None:
    made = Made(ANSWERS[name])
    streamed = made.events()

    done = [event["item"] for event in streamed if event["type"] == "response.output_item.done"]
    added = [event["item"]["id"] for event in streamed if event["type"] == "response.output_item.added"]
    output = streamed[-1]["response"]["output"]
    assert added == [item["id"] for item in done]
    if name not in ("begun anew", "late thoughts"):
        assert done == output
    assert streamed[-1]["response"] == response_json(made.stored)
    for index, item in enumerate(done):
        deltas_of = [e for e in streamed if e.get("output_index") == index and e["type"].endswith(".delta")]
        assert "".join(event["delta"] for event in deltas_of) == content_of(item)


def content_of(item: Told) -> str:
    parts = item.get("content") or item.get("summary") or ()
    return str(item.get("arguments", "")) + "".join(part["text"] for part in parts)


def test_the_order_of_events() -> None:
    text = ["output_item.added", "content_part.added", *["output_text.delta"] * 3, "output_text.done"]
    call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    summary = [
        "summary_part.added",
        "summary_text.delta",
        "summary_text.delta",
        "summary_text.done",
        "summary_part.done",
    ]

    assert kinds(Made(ANSWERS["calls"]).events()) == [
        *("created", "in_progress"),
        *("output_item.added", *[f"reasoning_{one}" for one in summary], "output_item.done"),
        *(*text, "content_part.done", "output_item.done"),
        *(*call, *call),
        "completed",
    ]


def test_what_had_to_be_begun_anew_is_another_message_and_the_first_one_void() -> None:
    streamed = Made(ANSWERS["begun anew"]).events()

    done = [event["item"] for event in streamed if event["type"] == "response.output_item.done"]
    assert [(item["id"], item.get("status")) for item in done] == [
        ("rs_x", None),
        ("msg_x", "incomplete"),
        ("msg_x_1", "completed"),
    ]
    (_, message) = streamed[-1]["response"]["output"]
    assert content_of(message) == "Something else."


def test_thoughts_after_the_first_words_are_in_the_response_that_ends_the_stream() -> None:
    streamed = Made(ANSWERS["late thoughts"]).events()

    assert "reasoning_summary_text.delta" not in kinds(streamed)
    assert content_of(streamed[-1]["response"]["output"][0]) == "Hm, well"


STATUSES = [
    (GenerationStatus.COMPLETED, EndReason.LENGTH, "incomplete", "incomplete", {"reason": "max_output_tokens"}),
    (GenerationStatus.COMPLETED, EndReason.CONTENT_FILTER, "incomplete", "incomplete", {"reason": "content_filter"}),
    (GenerationStatus.STOPPED, EndReason.USER_STOP, "incomplete", "cancelled", None),
    (GenerationStatus.FAILED, EndReason.UPSTREAM_ERROR, "failed", "failed", None),
    (GenerationStatus.INTERRUPTED, EndReason.NODE_LOST, "failed", "failed", None),
]


@pytest.mark.parametrize(("status", "end_reason", "kind", "shown", "details"), STATUSES)
def test_how_it_may_end(status: GenerationStatus, end_reason: EndReason, kind: str, shown: str, details: Told) -> None:
    streamed = Made([*TEXT, *CALLS], status, end_reason).events()

    response = streamed[-1]["response"]
    assert kinds(streamed)[-1] == kind
    assert (response["status"], response["incomplete_details"], response["completed_at"]) == (shown, details, None)
    assert [item["status"] for item in response["output"]] == ["incomplete"]  # and no half calls


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("provider_rate_limited", "rate_limit_exceeded"),
        ("context_too_long", "invalid_prompt"),
        ("upstream_cut", "server_error"),
    ],
)
def test_why_it_failed(code: str, shown: str) -> None:
    error = events.Error(code, "It is what it is.", retryable=False)
    made = Made(TEXT, GenerationStatus.FAILED, EndReason.UPSTREAM_ERROR, error=error)

    assert made.events()[-1]["response"]["error"] == {"code": shown, "message": "It is what it is."}


def test_the_reason_comes_from_the_log_where_nothing_else_has_it() -> None:
    error = events.Error("upstream_cut", "It is what it is.", retryable=False)
    made = Made(TEXT, GenerationStatus.FAILED, EndReason.UPSTREAM_CUT, error=error)

    writer = ResponseWriter(made.stored, lambda message, why: replace(made.stored, error_message=f"{why} Alas."))

    last = told(b"".join(writer.frames(made.log)))[-1]
    assert last["response"]["error"]["message"] == "It is what it is. Alas."


def test_a_response_that_is_gone_is_told_as_an_error() -> None:
    made = Made(TEXT)

    last = made.events(log=[*made.log[:3], (4, events.encode(events.LOST))])[-1]

    assert (last["type"], last["code"], last["param"]) == ("error", "generation_lost", None)
    assert last["sequence_number"] == len(made.events(log=made.log[:3]))


# The log has gone


@pytest.mark.parametrize(
    "name", [name for name in ANSWERS if name not in ("begun anew", "late thoughts", "gone on with")]
)
def test_from_the_database_it_is_the_same_with_the_text_at_once(name: str) -> None:
    made = Made(ANSWERS[name])

    whole, stored = made.events(), made.events(log=made.without_log)

    def joined(told: Sequence[Told]) -> list[Any]:
        """Every event, deltas in a row as one."""
        found: list[Any] = []
        for event in told:
            kind, told_of = event["type"], {k: v for k, v in event.items() if k not in ("sequence_number", "type")}
            if found and kind.endswith("text.delta") and found[-1][0] == kind:
                found[-1][1]["delta"] += event["delta"]
            else:
                found.append((kind, told_of))
        return found

    assert joined(stored) == joined(whole)
    assert [event["sequence_number"] for event in stored] == list(range(len(stored)))


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("after", [2, 7, 1000])
def test_who_has_read_some_gets_what_ends_the_stream_under_later_numbers(name: str, after: int) -> None:
    made = Made(ANSWERS[name])

    rest = made.events(after, made.without_log)

    assert [event["sequence_number"] for event in rest] == list(range(after + 1, after + 1 + len(rest)))
    assert rest[-1]["response"] == response_json(made.stored)
    assert all(kind.endswith((".done", "completed")) for kind in kinds(rest))
    done = [event["item"] for event in rest if event["type"] == "response.output_item.done"]
    assert done == rest[-1]["response"]["output"]


def test_a_log_that_breaks_off_is_gone_on_with_from_the_database() -> None:
    made = Made(ANSWERS["calls"])
    whole = made.events()
    for cut in range(1, len(made.log) - 1):
        seen = made.events(log=made.log[:cut])

        rest = made.events(len(seen) - 1, [*made.log[:cut], *made.without_log[1:]])

        text = "".join(e["delta"] for e in [*seen, *rest] if e["type"] == "response.output_text.delta")
        assert text == "All is well."
        assert rest[-1]["response"] == whole[-1]["response"]


def test_who_has_read_beyond_what_is_known_of_a_dead_worker_gets_the_end_too() -> None:
    made = Made(ANSWERS["text"])
    known, cut = made.events(), [*made.log[:3], *made.without_log[1:]]
    whole = made.events(log=cut)

    for after in range(len(whole) - 1):
        assert made.events(after, cut) == whole[after + 1 :]
    beyond = made.events(len(known) + 5, cut)
    assert beyond[-1]["response"] == known[-1]["response"]
    assert beyond[0]["sequence_number"] == len(known) + 6
