"""An answer that was begun anew is joined to what was shown, to the letter."""

import random
from collections.abc import Iterator

import pytest

from domain import errors
from domain.deltas import (
    Delta,
    Finish,
    ImageDelta,
    ReasoningDelta,
    Replacement,
    TextDelta,
    ToolCallDelta,
    UpstreamState,
    UsageReport,
)
from domain.messages import Image, Reasoning, ToolCall
from domain.usage import Usage
from services.answer import Answer
from services.splice import Splice
from tests.upstreams import Clock, Puppet, Step, stage, text_of

TEXT = "Grüße! 你好,世界 🌍. The end\n"


def pieces(text: str, seed: int) -> Iterator[str]:
    """The text cut up at random."""
    random_ = random.Random(seed)
    while text:
        length = random_.randint(1, 5)
        yield text[:length]
        text = text[length:]


def shown(deltas: list[Delta]) -> str:
    """The text that a reader of these has."""
    text = ""
    for delta in deltas:
        if isinstance(delta, TextDelta):
            text += delta.text
        elif isinstance(delta, Replacement):
            text = delta.text
    return text


def play(splice: Splice, texts: Iterator[str]) -> list[Delta]:
    return [new for text in texts if (new := splice.take(TextDelta(text))) is not None]


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
@pytest.mark.parametrize("seed", range(5))
def test_wherever_it_was_cut_the_joined_text_is_the_same(cut: int, seed: int) -> None:
    splice = Splice()
    deltas = play(splice, pieces(TEXT[:cut], seed))
    splice.restart()
    deltas += play(splice, pieces(TEXT, seed + 100))

    assert splice.finish() is None
    assert shown(deltas) == TEXT
    assert not any(isinstance(delta, Replacement) for delta in deltas)
    assert sum(len(delta.text) for delta in deltas if isinstance(delta, TextDelta)) == len(TEXT)


@pytest.mark.parametrize("cuts", [(0, 5, 3), (9, 2, 9), (20, 20, 20), (1, 12, 4), (5, 0, 0)])
def test_it_may_be_cut_several_times(cuts: tuple[int, ...]) -> None:
    splice, deltas = Splice(), []
    for number, cut in enumerate(cuts):
        deltas += play(splice, pieces(TEXT[:cut], number))
        splice.restart()
        assert shown(deltas) == TEXT[: max(cuts[: number + 1])]
    deltas += play(splice, pieces(TEXT, 9))

    assert (shown(deltas), splice.finish()) == (TEXT, None)


@pytest.mark.parametrize("cut", range(1, len(TEXT) + 1))
@pytest.mark.parametrize("same", range(len(TEXT)))
def test_where_it_departs_the_new_text_stands_for_the_old(cut: int, same: int) -> None:
    other = TEXT[:same] + "#### something else altogether ####"
    splice = Splice()
    deltas = play(splice, pieces(TEXT[:cut], 1))
    splice.restart()
    for text in pieces(other, 2):
        if (new := splice.take(TextDelta(text))) is not None:
            deltas.append(new)
        assert shown(deltas).startswith(splice.said) or splice.said.startswith(shown(deltas))

    assert splice.finish() is None
    assert shown(deltas) == other
    assert sum(isinstance(delta, Replacement) for delta in deltas) == (1 if cut > same else 0)


def test_a_shorter_answer_takes_back_what_is_too_much() -> None:
    splice = Splice()
    play(splice, iter(["one ", "two ", "three"]))
    splice.restart()

    assert play(splice, iter(["one ", "tw"])) == []
    assert splice.finish() == Replacement("one tw")


def test_reasoning_is_repeated_in_silence_too() -> None:
    splice = Splice()
    splice.take(ReasoningDelta("I think"))
    splice.restart()

    assert splice.take(ReasoningDelta("I th")) is None
    assert splice.take(ReasoningDelta("ink, so")) == ReasoningDelta(", so")


def test_reasoning_that_departs_replaces_reasoning_and_leaves_the_text() -> None:
    splice = Splice()
    splice.take(ReasoningDelta("I think"))
    splice.take(TextDelta("Yes, and"))
    splice.restart()

    assert splice.take(ReasoningDelta("Let me see")) == Replacement("Yes, and", "Let me see")
    assert splice.take(ReasoningDelta("!")) == ReasoningDelta("!")
    assert splice.take(TextDelta("Yes")) is None
    assert splice.take(TextDelta(" or no")) == Replacement("Yes or no")


def test_text_that_departs_takes_the_other_attempts_reasoning_with_it() -> None:
    splice = Splice()
    splice.take(ReasoningDelta("I think"))
    splice.take(TextDelta("Yes"))
    splice.restart()

    assert splice.take(TextDelta("No")) == Replacement("No", "")


def test_a_picture_is_shown_once() -> None:
    splice = Splice()
    picture = ImageDelta("https://example.org/a.png")

    assert splice.take(picture) is picture
    splice.restart()
    assert splice.take(picture) is None
    assert splice.take(ImageDelta("https://example.org/b.png"))


def test_a_replacement_by_the_provider_starts_the_text_anew() -> None:
    splice = Splice()
    play(splice, iter(["bad ", "words"]))
    assert splice.take(Replacement("Sorry.")) == Replacement("Sorry.")
    splice.restart()

    assert play(splice, iter(["Sor", "ry. Really."])) == [TextDelta(" Really.")]


# The same by the whole upstream, into what is saved

CALLS: list[Step] = [ToolCallDelta(0, "c1", "look", '{"at"'), ToolCallDelta(0, arguments=': "sky"}')]
SCRIPT: list[Step] = [
    UpstreamState("state-2"),
    *(ReasoningDelta(piece) for piece in ("First ", "I think, ", "then I write.")),
    *(TextDelta(piece) for piece in pieces(TEXT, 7)),
    ImageDelta("https://example.org/a.png"),
    *CALLS,
    UsageReport(Usage(3, 5)),
    Finish("stop"),
]


def answer_of(*attempts: list[Step], targets: int) -> Answer:
    clock = Clock()
    if targets == 1:
        return stage(Puppet("a", clock, attempts), clock=clock).answer()
    puppets = [Puppet(name, clock, [steps]) for name, steps in zip("abc", attempts, strict=False)]
    return stage(*puppets, clock=clock).answer()


@pytest.mark.parametrize("cut", range(len(SCRIPT)))
@pytest.mark.parametrize("targets", [1, 2])
def test_wherever_an_attempt_breaks_off_the_same_is_saved(cut: int, targets: int) -> None:
    broken = [*SCRIPT[:cut], errors.UpstreamCut("x")]
    answer = answer_of(broken, SCRIPT, targets=targets)
    whole = answer_of(SCRIPT, targets=1)

    assert answer.parts(complete=True) == whole.parts(complete=True)
    assert text_of(answer) == TEXT
    assert [part for part in answer.parts(complete=True) if isinstance(part, ToolCall)] == [
        ToolCall("c1", "look", '{"at": "sky"}')
    ]
    assert (answer.usage, answer.upstream_state, answer.finish_reason) == (Usage(3, 5), "state-2", "stop")


@pytest.mark.parametrize("cut", range(1, len(SCRIPT)))
def test_a_different_answer_leaves_nothing_of_the_first(cut: int) -> None:
    other: list[Step] = [ReasoningDelta("Otherwise."), TextDelta("Another answer."), Finish("stop")]
    answer = answer_of([*SCRIPT[:cut], errors.UpstreamCut("x")], other, targets=2)
    parts = answer.parts(complete=True)

    assert text_of(answer) == "Another answer."
    assert [part.text for part in parts if isinstance(part, Reasoning)] == ["Otherwise."]
    assert not any(isinstance(part, ToolCall) for part in parts)
    assert (answer.usage, answer.upstream_state) == (None, None)
    assert sum(isinstance(part, Image) for part in parts) == (cut > SCRIPT.index(CALLS[0]) - 1)


def test_what_was_sent_is_what_is_saved() -> None:
    first = [TextDelta("Once upon "), TextDelta("a time"), errors.UpstreamCut("x")]
    answer = answer_of(first, [TextDelta("Once, in "), TextDelta("May"), Finish("stop")], targets=2)

    assert text_of(answer) == "Once, in May"
    assert b"".join(answer.take_events()) == (
        b'{"type":"content","content":"Once upon a time"}{"type":"replace","content":"Once, in "}'
        b'{"type":"content","content":"May"}'
    )
