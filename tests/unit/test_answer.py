"""An answer while it grows: what was sent and what is saved are the same."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain import deltas, events
from domain.messages import Image, Reasoning, Text, ToolCall, text_of
from services.answer import Answer

_text = st.text(min_size=1, max_size=12)
_deltas = st.one_of(
    _text.map(deltas.TextDelta),
    _text.map(deltas.ReasoningDelta),
    _text.map(deltas.Replacement),
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


def test_a_picture_is_an_answer() -> None:
    answer = Answer()
    assert answer.empty
    answer.add(deltas.ImageDelta("https://example.com/x.png"))

    assert not answer.empty
    assert answer.parts(complete=True) == [Image("https://example.com/x.png")]


def test_reasoning_alone_is_not_an_answer() -> None:
    answer = Answer()
    answer.add(deltas.ReasoningDelta("hm"))

    assert answer.empty
    answer.add(deltas.TextDelta("yes"))
    assert answer.parts(complete=True) == [Reasoning("hm"), Text("yes")]
