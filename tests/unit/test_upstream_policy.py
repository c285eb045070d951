"""What each failure of a provider leads to: before and after the first token, with one target and with more."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from adapters.base_adapter import Deadlines
from domain import errors
from domain.chat import ChatRequest, PromptMessage
from domain.deltas import Finish, ReasoningDelta, TextDelta, ToolCallDelta
from domain.messages import Image, MessageRole, Text
from services.model_choice import Resolved
from services.upstream_handle import Attempt
from tests.upstreams import Clock, Handle, Puppet, Step, said, stage, text_of

WHOLE = "All happy families are alike."
BEGUN: list[Step] = [TextDelta(WHOLE[:10])]


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Case(NamedTuple):
    """A failure, and for how long its target is left alone before it is asked again; None for never.

    ``here_first``: before the other targets. ``elsewhere``: the others are asked at all.
    """

    name: str
    error: Callable[[], errors.ProviderError]
    again_in: float | None
    here_first: bool = False
    elsewhere: bool = True
    retryable_midway: bool = True


CASES = [
    Case("429", lambda: errors.ProviderRateLimited("x"), 15),
    Case("429 after 3 s", lambda: errors.ProviderRateLimited("x", retry_after=3), 3, here_first=True),
    Case("429 after 20 s", lambda: errors.ProviderRateLimited("x", retry_after=20), 20),
    Case("429 after 61 s", lambda: errors.ProviderRateLimited("x", retry_after=61), None),
    Case("429 after 60 s", lambda: errors.ProviderRateLimited("x", retry_after=60), 60),
    Case("5xx", lambda: errors.ProviderUnavailable("x"), 2, here_first=True),
    Case("503 after 30 s", lambda: errors.ProviderUnavailable("x", retry_after=30), 30),
    Case("503 after 90 s", lambda: errors.ProviderUnavailable("x", retry_after=90), None),
    Case("cut", lambda: errors.UpstreamCut("x"), 2, here_first=True),
    Case("garbage", lambda: errors.ProviderGarbage("x"), 2, here_first=True),
    Case("not connected", lambda: errors.ProviderTimeout("x", "connect"), 2, here_first=True),
    Case("silent", lambda: errors.ProviderTimeout("x", "first_token"), 0),
    Case("stalled", lambda: errors.ProviderTimeout("x", "idle"), 0),
    Case("out of time", lambda: errors.ProviderTimeout("x", "total"), None, elsewhere=False),
    Case("empty", lambda: errors.EmptyAnswer("x"), 0, here_first=True),
    Case("refused", lambda: errors.ProviderRejected("x"), None, elsewhere=False, retryable_midway=False),
    Case("filtered", lambda: errors.ContentFiltered("x"), None, elsewhere=False, retryable_midway=False),
    Case("denied", lambda: errors.ProviderDenied("x"), None, retryable_midway=False),
    Case("not allowed", lambda: errors.AddressNotAllowed("x"), None, retryable_midway=False),
    Case("no model", lambda: errors.ModelNotFound("x"), None, retryable_midway=False),
    Case("no stream", lambda: errors.StreamUnsupported("x"), 2, here_first=True),
    Case("unknown", lambda: errors.ProviderError("x"), None, elsewhere=False, retryable_midway=False),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_every_error_of_the_tree_has_a_case() -> None:
    def below(kind: type[errors.ProviderError]) -> set[type[errors.ProviderError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(errors.ProviderError) if kind.__module__ == "domain.errors"}
    assert ours - {errors.ContextTooLong} == {type(case.error()) for case in CASES}


# Before the first token


def test_one_target_that_fails_once(case: Case, clock: Clock) -> None:
    a = Puppet("a", clock, [[case.error()], said(WHOLE)])
    it = stage(a, clock=clock)

    answer, error = it.partly()

    if case.again_in is None:
        assert isinstance(error, type(case.error()))
        assert (len(a.asked), it.last.waits) == (1, [])
    else:
        assert (text_of(answer), error) == (WHOLE, None)
        assert it.last.waits == ([case.again_in] if case.again_in else [])


def test_one_target_that_goes_on_failing_is_asked_twice_at_most(case: Case, clock: Clock) -> None:
    a = Puppet("a", clock, [[case.error()]])
    it = stage(a, clock=clock)

    _, error = it.partly()

    assert isinstance(error, type(case.error()))
    assert len(a.asked) == (1 if case.again_in is None else 2)


def test_two_targets_of_which_the_first_fails_once(case: Case, clock: Clock) -> None:
    a, b = Puppet("a", clock, [[case.error()], said(WHOLE)]), Puppet("b", clock, [said(WHOLE)])
    it = stage(a, b, clock=clock)

    answer, error = it.partly()

    if not case.elsewhere:
        assert (len(a.asked), len(b.asked), type(error)) == (1, 0, type(case.error()))
        return
    assert (text_of(answer), error) == (WHOLE, None)
    assert (len(a.asked), len(b.asked)) == ((2, 0) if case.here_first else (1, 1))
    assert it.last.answering is not None
    assert it.last.answering.choice.provider == ("a" if case.here_first else "b")


def test_two_targets_of_which_the_first_goes_on_failing(case: Case, clock: Clock) -> None:
    a, b = Puppet("a", clock, [[case.error()]]), Puppet("b", clock, [said(WHOLE)])
    it = stage(a, b, clock=clock)

    answer, error = it.partly()

    assert (text_of(answer) == WHOLE) == (error is None) == case.elsewhere
    assert len(a.asked) == (2 if case.here_first else 1)


def test_two_targets_that_both_fail(case: Case, clock: Clock) -> None:
    a, b = Puppet("a", clock, [[case.error()]]), Puppet("b", clock, [[case.error()]])
    it = stage(a, b, clock=clock)

    _, error = it.partly()

    assert isinstance(error, type(case.error()))
    twice = 2 if case.again_in is not None else 1
    assert (len(a.asked), len(b.asked)) == ((twice, twice) if case.elsewhere else (1, 0))


def test_what_was_put_off_for_another_target_is_made_up_for(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.ProviderRateLimited("x", retry_after=20)], said(WHOLE)])
    b = Puppet("b", clock, [[errors.ProviderDenied("x")]])
    it = stage(a, b, clock=clock)

    assert text_of(it.answer()) == WHOLE
    assert it.last.waits == [20]
    assert it.last.route == "a/m=provider_rate_limited -> b/m=provider_denied -> a/m"


# After the first token


def test_one_target_that_fails_midway_once(case: Case, clock: Clock) -> None:
    a = Puppet("a", clock, [[*BEGUN, case.error()], said(WHOLE)])
    it = stage(a, clock=clock)

    answer, error = it.partly()

    if case.again_in is None or not case.retryable_midway:
        assert (text_of(answer), type(error)) == (WHOLE[:10], type(case.error()))
        assert len(a.asked) == 1
    else:
        assert (text_of(answer), error) == (WHOLE, None)


def test_two_targets_of_which_the_first_fails_midway(case: Case, clock: Clock) -> None:
    a, b = Puppet("a", clock, [[*BEGUN, case.error()], said(WHOLE)]), Puppet("b", clock, [said(WHOLE)])
    it = stage(a, b, clock=clock)

    answer, error = it.partly()

    if case.elsewhere and case.retryable_midway:
        assert (text_of(answer), error) == (WHOLE, None)
        assert (len(a.asked), len(b.asked), it.last.waits) == (1, 1, [])  # somebody reads: at once
        assert (it.last.answering and it.last.answering.choice.provider) == "b"
    else:
        assert (text_of(answer), type(error)) == (WHOLE[:10], type(case.error()))
        assert (len(a.asked), len(b.asked)) == (1, 0)
        assert (it.last.answering and it.last.answering.choice.provider) == "a"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_restarts_are_bounded_by_the_number_of_targets(count: int, clock: Clock) -> None:
    puppets = [Puppet(name, clock, [[*BEGUN, errors.UpstreamCut("x")]]) for name in "abc"[:count]]
    it = stage(*puppets, clock=clock)

    answer, error = it.partly()

    assert isinstance(error, errors.UpstreamCut)
    assert text_of(answer) == WHOLE[:10]
    assert sum(len(puppet.asked) for puppet in puppets) == count + 1


def test_a_target_that_takes_over_and_cannot_does_not_end_the_turn(clock: Clock) -> None:
    a = Puppet("a", clock, [[*BEGUN, errors.UpstreamCut("x")], said(WHOLE)])
    b = Puppet("b", clock, [[errors.ProviderRejected("This model has no such parameter.")]])
    it = stage(a, b, clock=clock)

    assert text_of(it.answer()) == WHOLE
    assert [attempt.choice.provider for attempt in it.last.attempts] == ["a", "b", "a"]


# The prompt


def test_too_long_for_one_is_asked_of_one_with_a_larger_window(clock: Clock) -> None:
    long = errors.ContextTooLong("x")
    a = Puppet("a", clock, [[long]], window=8_000)
    b, c = Puppet("b", clock, [said("b")], window=8_000), Puppet("c", clock, [said(WHOLE)], window=32_000)
    it = stage(a, b, c, clock=clock)

    assert text_of(it.answer()) == WHOLE
    assert (len(a.asked), len(b.asked), len(c.asked)) == (1, 0, 1)
    assert it.last.route == "a/m=context_too_long -> c/m"


def test_too_long_for_all_is_said(clock: Clock) -> None:
    it = stage(Puppet("a", clock, [[errors.ContextTooLong("x")]]), clock=clock)

    assert isinstance(it.partly()[1], errors.ContextTooLong)


def test_each_target_gets_the_prompt_that_fits_it(clock: Clock) -> None:
    tiny, a = Puppet("tiny", clock, [said("no")], window=40), Puppet("a", clock, [[errors.ProviderDenied("x")]])
    b = Puppet("b", clock, [said(WHOLE)], window=400)
    it = stage(tiny, a, b, clock=clock)
    history = [PromptMessage(role, [Text("x" * 150)]) for role in (MessageRole.USER, MessageRole.ASSISTANT)]
    asked = ChatRequest("", [*history, PromptMessage(MessageRole.USER, [Text("y" * 50)])])
    handle = Handle(clock)
    it.answer(handle, it.planner.plan(Resolved(None, "smart", it.choices), asked, None))

    assert [len(puppet.requests[0].messages) for puppet in (a, b)] == [3, 1]
    assert handle.route == "tiny/m=context_too_long -> a/m=provider_denied -> b/m"


def test_pictures_go_only_to_those_who_see(clock: Clock) -> None:
    blind = Puppet("blind", clock, [said("no")])
    a = Puppet("a", clock, [[errors.ProviderUnavailable("x")]], vision=True)
    also_blind, b = Puppet("also", clock, [said("no")]), Puppet("b", clock, [said(WHOLE)], vision=True)
    it = stage(blind, a, also_blind, b, clock=clock)
    plan = it.plan(Image("https://example.org/a.png"), Text("what is it?"))
    handle = Handle(clock)

    assert text_of(it.answer(handle, plan)) == WHOLE
    assert (blind.asked, also_blind.asked) == ([], [])
    assert handle.route == (
        "blind/m=model_cannot_see -> a/m=provider_unavailable -> a/m=provider_unavailable"
        " -> also/m=model_cannot_see -> b/m"
    )


def test_state_goes_to_the_provider_that_left_it(clock: Clock) -> None:
    a, b = Puppet("a", clock, [[errors.ProviderDenied("x")]]), Puppet("b", clock, [said(WHOLE)])
    it = stage(a, b, clock=clock)

    it.answer(plan=it.plan(state_of="b", upstream_state="conv-1"))

    assert (a.requests[0].upstream_state, b.requests[0].upstream_state) == ("", "conv-1")
    assert (a.requests[0].model, b.requests[0].model) == ("m", "m")


def test_an_adapter_that_cannot_send_it_leaves_it_to_the_next(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.UnsupportedInput("Only PNG.")]])
    b = Puppet("b", clock, [said(WHOLE)])

    assert text_of(stage(a, b, clock=clock).answer()) == WHOLE
    assert isinstance(stage(a, clock=clock).partly()[1], errors.ProviderRejected)


# Answers without an answer, and in one piece


@pytest.mark.parametrize("said_before", [[], [ReasoningDelta("hm")]])
def test_an_empty_answer_is_no_answer(said_before: list[Step], clock: Clock) -> None:
    a = Puppet("a", clock, [[*said_before, Finish("stop")]])
    it = stage(a, clock=clock)

    assert isinstance(it.partly()[1], errors.EmptyAnswer)
    assert len(a.asked) == 2


@pytest.mark.parametrize("end", [Finish("length"), Finish("content_filter")])
def test_an_empty_answer_with_a_reason_is_one(end: Finish, clock: Clock) -> None:
    answer = stage(Puppet("a", clock, [[end]]), clock=clock).answer()

    assert answer.finish_reason == end.reason


def test_a_tool_call_is_an_answer(clock: Clock) -> None:
    call: list[Step] = [ToolCallDelta(0, "c1", "look", "{}"), Finish("stop")]

    assert stage(Puppet("a", clock, [call]), clock=clock).answer().parts(complete=True)


def test_a_server_that_cannot_stream_is_asked_for_whole_answers(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.StreamUnsupported("x")], said(WHOLE)], completes=True)
    it = stage(a, clock=clock)

    assert [text_of(it.answer()) for _ in range(3)] == [WHOLE] * 3
    assert (len(a.asked), a.whole) == (4, 3)
    assert [attempt.streamed for handle in it.handles for attempt in handle.attempts] == [True, False, False, False]
    clock.seconds += 301
    it.answer()
    assert it.last.attempts[0].streamed


@pytest.mark.parametrize(
    "fault", [errors.ProviderGarbage("x"), errors.UpstreamCut("x"), errors.EmptyAnswer("x")], ids=repr
)
def test_a_stream_that_broke_before_its_first_token_is_asked_for_in_one_piece(
    fault: errors.ProviderError, clock: Clock
) -> None:
    a = Puppet("a", clock, [[fault], said(WHOLE)], completes=True)
    it = stage(a, clock=clock)

    assert text_of(it.answer()) == WHOLE
    assert [attempt.streamed for attempt in it.last.attempts] == [True, False]
    it.answer()
    assert [attempt.streamed for attempt in it.last.attempts] == [True]  # it was this turn's bad luck


def test_a_stream_that_broke_after_its_first_token_is_asked_for_as_a_stream(clock: Clock) -> None:
    a = Puppet("a", clock, [[TextDelta(WHOLE[:4]), errors.UpstreamCut("x")], said(WHOLE)], completes=True)
    it = stage(a, clock=clock)

    assert text_of(it.answer()) == WHOLE
    assert [attempt.streamed for attempt in it.last.attempts] == [True, True]


# Time


def test_the_total_deadline_spans_all_attempts(clock: Clock) -> None:
    a = Puppet("a", clock, [[9.0, errors.ProviderUnavailable("x")], said(WHOLE)])
    it = stage(a, clock=clock, deadlines=Deadlines(total=10))

    assert isinstance(it.partly()[1], errors.ProviderUnavailable)  # a retry in 2 s would be too late
    assert len(a.asked) == 1


def test_a_wait_beyond_the_turn_goes_to_the_next_target_at_once(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.ProviderRateLimited("x", retry_after=4)], said(WHOLE)])
    b = Puppet("b", clock, [said(WHOLE)])
    it = stage(a, b, clock=clock, deadlines=Deadlines(total=3))

    assert text_of(it.answer()) == WHOLE
    assert (it.last.waits, len(b.asked)) == ([], 1)


def test_deadlines_of_a_call_are_what_is_left(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.ProviderUnavailable("x")], said(WHOLE)])
    it = stage(a, clock=clock, deadlines=Deadlines(total=10))
    handle = Handle(clock)
    it.answer(handle)

    assert handle._call is not None
    assert handle._call.deadlines.total == 8


# Stops


def test_a_stop_ends_a_wait_at_once(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.ProviderRateLimited("x")]])
    it = stage(a, clock=clock)
    handle = Handle(clock, at_wait=lambda handle: handle.stop())

    assert text_of(it.answer(handle)) == ""
    assert (len(a.asked), handle.waits) == (1, [15])


def test_a_stop_before_the_beginning_asks_nobody(clock: Clock) -> None:
    a = Puppet("a", clock, [said(WHOLE)])
    handle = Handle(clock)
    handle.stop()

    stage(a, clock=clock).answer(handle)

    assert (a.asked, handle.trace) == ([], [])


def test_a_stopped_attempt_is_no_failure(clock: Clock) -> None:
    handle = Handle(clock)

    class Stops(Puppet):
        def _stream(self, request: object, call: object) -> object:  # type: ignore[override]
            yield TextDelta("a")
            handle.stop()
            raise errors.UpstreamCut("The call was stopped.")

    it = stage(Stops("a", clock, [[]]), clock=clock)
    it.answer(handle)

    assert [attempt.outcome for attempt in handle.attempts] == ["stopped"]
    assert it.upstream.gate.breakers.states() == {}


def test_a_mistake_of_ours_is_noted_and_passed_on(clock: Clock) -> None:
    it = stage(Puppet("a", clock, [[KeyError("x")]]), clock=clock)

    assert isinstance(it.partly()[1], KeyError)
    assert [(one.outcome, one.error_code) for one in it.last.attempts] == [("failed", "internal_error")]


def test_attempts_are_noted(clock: Clock) -> None:
    a = Puppet("a", clock, [[0.5, *BEGUN, 0.25, errors.UpstreamCut("x")]])
    b = Puppet("b", clock, [[1.0, *said(WHOLE)]])
    it = stage(a, b, clock=clock)
    it.answer()

    first, second = it.last.attempts
    assert isinstance(first, Attempt)
    assert (first.outcome, first.error_code, first.ms, first.first_token_ms) == ("failed", "upstream_cut", 750, 500)
    assert (first.output, second.output) == (WHOLE[:10], "")
    assert (second.outcome, second.ms, second.note) == ("answered", 1000, "b/m")
    assert it.last.upstream_ms == 1750
