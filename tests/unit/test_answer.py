"""An answer while it grows: what was sent and what is saved are the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import deltas, events
from domain.messages import Image, Reasoning, Text, ToolCall, text_of
from services.answer import Answer, columns_of

_text = st.text(st.characters(exclude_categories=[]), max_size=12)  # halves of characters and NUL included
_deltas = st.one_of(
    _text.map(deltas.TextDelta),
    _text.map(deltas.ReasoningDelta),
    _text.map(deltas.Replacement),
    st.builds(deltas.ToolCallDelta, st.integers(0, 2), _text, _text, _text),
    st.builds(deltas.ImageDelta, _text, _text),
    st.just(None),  # here the events so far are taken
)


def _decoded(answer: Answer) -> list[events.Event]:
    return [msgspec.json.decode(event, type=events.Event) for event in answer.take_events()]


@given(st.lists(_deltas, max_size=40))
def test_a_reader_ends_with_the_saved_text_however_the_deltas_come(script: list[deltas.Delta | None]) -> None:
    answer, sent = Answer(), []
    for delta in script:
        if delta is None:
            sent += _decoded(answer)
        else:
            answer.add(delta)
    sent += _decoded(answer)

    text = reasoning = ""
    for event in sent:
        match event:
            case events.Content(content=piece):
                text += piece
            case events.Reasoning(content=piece):
                reasoning += piece
            case events.Replace(content=whole):
                text = whole
    parts = answer.parts(complete=True)
    assert text == text_of(parts)
    assert reasoning == "".join(part.text for part in parts if isinstance(part, Reasoning))
    pictures = [part for part in parts if isinstance(part, Image)]
    assert [Image(event.url, event.alt) for event in sent if isinstance(event, events.Image)] == pictures
    assert all("\0" not in value for value in columns_of(parts)["text"])
    msgspec.json.encode(columns_of(parts))  # nothing in it is half a character


@given(st.lists(_deltas, max_size=30))
def test_what_has_come_grows_the_answer_so_that_it_is_saved_again(script: list[deltas.Delta | None]) -> None:
    answer = Answer()
    for delta in script:
        before, size = answer.parts(complete=False), answer.size
        if delta is not None:
            answer.add(delta)
        assert answer.size >= size
        assert answer.size > size or answer.parts(complete=False) == before


def test_pieces_of_one_kind_become_one_event() -> None:
    answer = Answer()
    for piece in ("Once", " upon", " a time"):
        answer.add(deltas.TextDelta(piece))

    assert _decoded(answer) == [events.Content(content="Once upon a time")]
    assert _decoded(answer) == []


def test_a_tool_call_is_kept_only_when_it_is_whole() -> None:
    answer = Answer()
    answer.add(deltas.ToolCallDelta(0, id="call", name="clock"))
    answer.add(deltas.ToolCallDelta(0, arguments='{"zone":'))

    assert answer.parts(complete=False) == []

    answer.add(deltas.ToolCallDelta(0, arguments='"UTC"}'))
    answer.close()

    assert answer.parts(complete=True) == [ToolCall("call", "clock", '{"zone":"UTC"}')]
    assert _decoded(answer) == [events.ToolCall("call", "clock", '{"zone":"UTC"}')]


def test_a_picture_is_a_part() -> None:
    answer = Answer()
    answer.add(deltas.ImageDelta("https://example.com/x.png"))

    assert answer.parts(complete=True) == [Image("https://example.com/x.png")]


@pytest.mark.parametrize(
    "delta",
    [deltas.TextDelta("x"), deltas.ReasoningDelta("x"), deltas.ToolCallDelta(0, "x"), deltas.ImageDelta("x")],
)
def test_whatever_comes_first_is_the_first_token(delta: deltas.Delta) -> None:
    answer = Answer()
    answer.add(deltas.UpstreamState("conversation"))
    assert answer.first_delta_at is None

    answer.add(delta)

    assert answer.first_delta_at is not None


def test_reasoning_is_a_part_of_its_own() -> None:
    answer = Answer()
    answer.add(deltas.ReasoningDelta("hm"))
    answer.add(deltas.TextDelta("yes"))
    assert answer.parts(complete=True) == [Reasoning("hm"), Text("yes")]
