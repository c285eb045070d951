"""Chat completions event by event: what a provider sent keeps its bytes, what is ours looks alike."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from api.openai.chat_stream import DONE, ChatWriter
from domain.deltas import (
    Finish,
    ImageDelta,
    Piece,
    ReasoningDelta,
    Replacement,
    Said,
    TextDelta,
    ToolCallDelta,
    UsageReport,
    WireEvent,
)
from domain.errors import ProviderError, ProviderUnavailable
from domain.usage import Usage
from models import LedgerEntity
from repositories.ledger_statements import entry_of
from services.completion_service import Completion
from services.key_limiter import Held
from services.ledger import Hold
from tests.upstreams import Clock, Puppet, Step, stage

ROLE = b'{"id":"c","created":5,"model":"m",  "choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}'
WORD = b'{"id":"c","created":5,"model":"m",  "choices":[{"index":0,"delta":{"content":"hi"},"vendor":[1.50]}]}'
END = b'{"id":"c","created":5,"model":"m",  "choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
COUNT = b'{"id":"c","created":5,"model":"m",  "choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


def wire(*said: Said, of: Sequence[bytes] = (WORD,)) -> Piece:
    return Piece(said, [WireEvent(data) for data in of])


WIRE: list[Step] = [wire(of=[ROLE]), wire(TextDelta("hi")), wire(of=[END]), wire(of=[COUNT]), Finish("stop")]
AT_ONCE: list[Step] = [wire(TextDelta("hi"), of=[ROLE, WORD, END, COUNT]), Finish("stop")]


class Bench:
    """A completion by puppets, in their order."""

    def __init__(self, *answers: Sequence[Step], public_model: str = "m") -> None:
        clock = Clock()
        puppets = [Puppet(name, clock, [steps]) for name, steps in zip("abc", answers, strict=False)]
        self._stage = stage(*puppets, clock=clock)
        self.ends: list[Completion] = []
        hold = Hold(entry_of(LedgerEntity(generation_id="gen_1")), {})
        plan = self._stage.plan()
        self.completion = Completion(self._stage.upstream, public_model, plan, hold, Held(), self._ended)

    def _ended(self, completion: Completion) -> None:
        completion.usage = completion.tally.usage
        self.ends.append(completion)

    def frames(self, *, include_usage: bool = False, answers: int = 1) -> list[bytes]:
        writer = ChatWriter(self.completion, include_usage=include_usage, answers=answers)
        return b"".join(writer.frames()).split(b"\n\n")[:-1]

    def events(self, **options: Any) -> list[Any]:
        *frames, last = self.frames(**options)
        assert last + b"\n\n" == DONE
        return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def deltas_of(events: Sequence[Any]) -> list[Any]:
    return [event["choices"][0]["delta"] for event in events if event["choices"]]


@pytest.mark.parametrize("steps", [WIRE, AT_ONCE], ids=["one by one", "at once"])
def test_a_provider_s_own_events_keep_their_bytes(steps: list[Step]) -> None:
    assert Bench(steps).frames() == [b"data: " + one for one in (ROLE, WORD, END)] + [DONE.strip()]
    assert Bench(steps).frames(include_usage=True) == [b"data: " + one for one in (ROLE, WORD, END, COUNT)] + [
        DONE.strip()
    ]


def test_what_comes_at_once_goes_out_at_once() -> None:
    said: list[Step] = [Piece([TextDelta("one "), TextDelta("two")]), Finish("stop")]

    for bench, events in ((Bench(AT_ONCE), 3), (Bench(said), 3)):
        first = next(ChatWriter(bench.completion, include_usage=False).frames())
        assert first.count(b"data: ") == events


def test_the_model_has_the_name_that_the_client_used() -> None:
    events = Bench(WIRE, public_model="ours").events(include_usage=True)

    assert {event["model"] for event in events} == {"ours"}
    assert events[1]["choices"][0]["vendor"] == [1.5]


def test_an_event_of_several_lines_stays_one() -> None:
    odd = WORD.replace(b",  ", b",\n")
    frames = Bench([wire(TextDelta("hi"), of=[odd]), Finish("stop")]).frames()

    assert frames[0] == b"data: " + odd.replace(b"\n", b"\ndata: ")


def test_a_finish_reason_is_never_missing() -> None:
    for reason in ("stop", "length", "tool_calls", "content_filter"):
        events = Bench([wire(TextDelta("hi")), Finish(reason)]).events()  # type: ignore[arg-type]  # literals
        assert events[-1]["choices"][0]["finish_reason"] == reason
        assert events[-1]["id"] == "c"


def test_neutral_deltas_in_the_protocol_s_words() -> None:
    steps: list[Step] = [
        ReasoningDelta("hm"),
        TextDelta('say "hi"\n'),
        ImageDelta("https://x/a.png", "a"),
        ToolCallDelta(0, "call_1", "f", '{"a"'),
        ToolCallDelta(0, arguments=":1}"),
        ToolCallDelta(1, "call_2", "g", "{}"),
        UsageReport(Usage(3, 4, cached_tokens=2, reasoning_tokens=1)),
        Finish("tool_calls"),
    ]
    *events, last = Bench(steps).events(include_usage=True)

    assert deltas_of(events) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "hm"},
        {"content": 'say "hi"\n'},
        {"content": "![a](https://x/a.png)"},
        {"tool_calls": [call(0, "call_1", name="f", arguments='{"a"')]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [call(1, "call_2", name="g", arguments="{}")]},
        {},
    ]
    assert {(event["id"], event["object"], event["model"], event["usage"]) for event in events} == {
        ("chatcmpl-1", "chat.completion.chunk", "m", None)
    }
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 2


def call(index: int, identity: str, **function: str) -> dict[str, Any]:
    return {"index": index, "id": identity, "type": "function", "function": function}


def test_what_fails_before_the_first_word_is_raised() -> None:
    bench = Bench([wire(of=[ROLE]), ProviderUnavailable("down")])

    with pytest.raises(ProviderUnavailable):
        bench.frames()
    assert len(bench.ends) == 1


def test_a_provider_that_was_left_before_its_first_word_has_said_nothing() -> None:
    other = [wire(TextDelta("hi"), of=[WORD.replace(b'"c"', b'"d"')]), Finish("stop")]
    events = Bench([wire(of=[ROLE]), ProviderUnavailable("down")], other).events()

    assert {event["id"] for event in events} == {"d"}


def test_what_was_begun_is_gone_on_with_where_it_is_the_same() -> None:
    first: list[Step] = [wire(TextDelta("hi"), of=[ROLE, WORD]), ProviderUnavailable("down")]
    events = Bench(first, [TextDelta("hi the"), TextDelta("re"), Finish("stop")]).events()

    assert "".join(delta.get("content") or "" for delta in deltas_of(events)) == "hi there"
    assert {event["id"] for event in events} == {"c"}
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("first", "second", "answers"),
    [
        ([TextDelta("one two")], [TextDelta("one three"), Finish("stop")], 1),
        ([TextDelta("one two")], [TextDelta("one"), Finish("stop")], 1),
        ([ToolCallDelta(0, "c", "f", "{")], [TextDelta("no tools"), Finish("stop")], 1),
        ([TextDelta("one")], [TextDelta("one"), Finish("stop")], 2),
    ],
    ids=["another text", "less text", "a call that was begun", "several answers"],
)
def test_what_cannot_be_gone_on_with_ends_with_an_error(first: list[Step], second: list[Step], answers: int) -> None:
    bench = Bench([*first, ProviderUnavailable("down")], second)
    *frames, last = bench.frames(answers=answers)

    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "answer_diverged"
    assert DONE.strip() not in frames
    (ended,) = bench.ends
    assert isinstance(ended.error, ProviderError)


def test_a_text_that_is_replaced_goes_on_where_it_can() -> None:
    events = Bench([TextDelta("one"), Replacement("one two"), Finish("stop")]).events()
    assert "".join(delta.get("content") or "" for delta in deltas_of(events)) == "one two"

    *_, last = Bench([TextDelta("one"), Replacement("sorry"), Finish("stop")]).frames()
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "answer_diverged"


def test_an_error_in_mid_stream_is_the_last_event() -> None:
    *frames, last = Bench([TextDelta("one"), ProviderUnavailable("down")]).frames()

    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "provider_unavailable"
    assert DONE.strip() not in frames
