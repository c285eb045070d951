"""An answer, told again by its log."""

from domain import deltas, events
from domain.messages import Image, Reasoning, Text
from services.answer import Answer
from services.replay import replay


def _log(*told: events.Event) -> list[bytes]:
    return [events.encode(event) for event in told]


def test_a_log_tells_what_the_answer_held() -> None:
    answer, log = Answer(), list[bytes]()
    for delta in (
        deltas.ReasoningDelta("hm"),
        deltas.TextDelta("one "),
        deltas.ImageDelta("https://example.com/a.png", "a"),
        deltas.TextDelta("two"),
        deltas.Replacement("three ", "well"),
        deltas.TextDelta("four"),
    ):
        answer.add(delta)
        log += answer.take_events()

    assert replay(log) == answer.parts(complete=False)
    assert replay(log) == [Reasoning("well"), Text("three four"), Image("https://example.com/a.png", "a")]


def test_a_log_without_a_word_of_the_model_tells_nothing() -> None:
    start = events.Start("msg", "gen", "sess", "openai", "m")

    assert replay([]) == []
    assert replay(_log(start, events.Error("upstream_cut", "It broke off.", True), events.End())) == []


def test_tool_calls_are_left_out() -> None:
    assert replay(_log(events.Content("see"), events.ToolCall("1", "clock", "{}"))) == [Text("see")]


def test_what_another_version_has_written_is_passed_over() -> None:
    log = [*_log(events.Content("one ")), b'{"type":"hologram","beam":1}', *_log(events.Content("two"))]

    assert replay(log) == [Text("one two")]
