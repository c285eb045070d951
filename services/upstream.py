"""The one way to an answer: attempts on targets, with deadlines, retries and failover, told as one stream of deltas.

What a failure calls for is in :mod:`services.retry_policy`, who is asked next in :mod:`services.journey`, who may be
asked at all in :mod:`services.target_gate`, and how a restarted answer is joined to what was shown in
:mod:`services.splice`. This module does it.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import structlog

from adapters.base_adapter import Deadlines, Providers
from domain import errors
from domain.chat import ChatRequest
from domain.deltas import (
    Delta,
    Finish,
    ImageDelta,
    Piece,
    ReasoningDelta,
    Replacement,
    Restart,
    Said,
    TextDelta,
    UsageReport,
)
from domain.observer import NOBODY, Observer
from services.circuit_breaker import Admission
from services.journey import Journey
from services.model_choice import ModelChoice, Passed
from services.retry_policy import Reaction, RetryPolicy, react
from services.splice import Splice
from services.target_gate import TargetGate
from services.turn_plan import Plan, TurnPlanner
from services.upstream_handle import Attempt, UpstreamHandle

log = structlog.get_logger()

_UNSTREAMED_S = 300.0  # how long it is remembered that a target answers in one piece only
_SHOWN = (TextDelta, ReasoningDelta, ImageDelta, Replacement)  # what a reader gets at once
_BROKEN_STREAM = (errors.ProviderGarbage, errors.UpstreamCut, errors.EmptyAnswer)  # a whole answer may come through


class Upstream:
    """Answers turns. ``deadlines`` are those of a turn: the total one spans all of its attempts and waits."""

    def __init__(
        self,
        providers: Providers,
        gate: TargetGate,
        planner: TurnPlanner,
        deadlines: Deadlines,
        policy: RetryPolicy | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        observer: Observer = NOBODY,
    ) -> None:
        self.providers = providers
        self.gate = gate
        self.planner = planner
        self.deadlines = deadlines
        self.policy = policy or RetryPolicy()
        self.now = now
        self.draw = draw
        self.observer = observer
        self._unstreamed: dict[str, float] = {}  # target -> until when it is asked for whole answers

    def answer(self, plan: Plan, handle: UpstreamHandle) -> Generator[Delta, None, None]:
        """The answer to a plan, to its :class:`Finish`. What was tried is in the handle, on the way and afterwards.

        Raises the :class:`ProviderError` that says best why there is none. Ends early once the handle is stopped.
        """
        return _Turn(self, plan, handle).deltas()

    def streams(self, target: str) -> bool:
        """Whether to ask the target for a stream: yes, unless it could not give one lately."""
        return self._unstreamed.get(target, 0) <= self.now()

    def remember_unstreamed(self, target: str) -> None:
        """The target does not stream."""
        now = self.now()
        self._unstreamed = {name: until for name, until in self._unstreamed.items() if until > now}
        self._unstreamed[target] = now + _UNSTREAMED_S


class _Turn:
    """One turn on its way through its targets."""

    def __init__(self, upstream: Upstream, plan: Plan, handle: UpstreamHandle) -> None:
        self._upstream = upstream
        self._plan = plan
        self._handle = handle
        deadline = upstream.now() + upstream.deadlines.total
        self._journey = Journey(plan.choices, upstream.policy, deadline, upstream.now)
        self._splice = Splice()
        self._useful = False  # whether the present attempt has said something that a person could use
        self._waited_s = 0.0  # since the last attempt
        self._in_one_piece: set[str] = set()  # targets whose stream broke before it said anything
        self._before = len(handle.attempts)  # of earlier requests of the same turn, if there are any
        handle.trace += plan.passed

    def deltas(self) -> Generator[Delta, None, None]:
        while (move := self._journey.next()) is not None:
            self._waited_s += move.wait_s
            if self._handle.wait(move.wait_s):
                return
            entered = self._enter(move.choice)
            if entered is not None and (yield from self._is_over(*entered)):
                return
        raise self._journey.error or self._upstream.planner.nobody_now(self._plan.choices)

    def _enter(self, choice: ModelChoice) -> tuple[Attempt, Admission] | None:
        """The next attempt, which may begin; None if this model cannot be asked now."""
        upstream = self._upstream
        try:
            request = self._request(choice)
        except (errors.UnsupportedInput, errors.ContextTooLong) as error:
            self._handle.trace.append(Passed(choice.target, error.error_code))
            return None
        admission = upstream.gate.enter(choice.target)
        if isinstance(admission, Admission):
            streamed = self._is_streamed(choice, request)
            return self._begin(Attempt(choice, request, self._waited_s * 1000, streamed, admission.probe)), admission
        if admission.pause_s is None:
            self._handle.trace.append(Passed(choice.target, admission.reason))
        else:
            self._journey.put_off(choice, admission.pause_s)
        return None

    def _is_streamed(self, choice: ModelChoice, request: ChatRequest) -> bool:
        adapter, native = self._upstream.providers[choice.provider], request.native
        if native is not None and not native.stream and adapter.completes and adapter.speaks(request):
            return False  # the client gets the provider's own answer in one piece
        return self._upstream.streams(choice.target) and choice.target not in self._in_one_piece

    def _request(self, choice: ModelChoice) -> ChatRequest:
        plan = self._plan
        if choice is plan.first:
            return plan.request
        return self._upstream.planner.request_for(choice, plan.asked, plan.state_of)

    def _begin(self, attempt: Attempt) -> Attempt:
        self._handle.trace.append(attempt)
        if not self._splice.shown:
            self._handle.answering = attempt
        self._waited_s = 0
        return attempt

    def _is_over(self, attempt: Attempt, admission: Admission) -> Generator[Delta, None, bool]:
        """Give the deltas of one attempt; whether the turn is over with it."""
        started = self._upstream.now()
        try:
            yield from self._deltas_of(attempt, admission, started)
            attempt.outcome = "answered"
            self._upstream.gate.answered(admission)
            return True
        except (errors.ProviderError, errors.InvalidInput) as error:
            if not self._handle.stopped:
                self._failed(attempt, admission, error)
            return self._handle.stopped
        except Exception:
            attempt.outcome, attempt.error_code = "failed", errors.AppError.code
            raise
        finally:
            attempt.ms = (self._upstream.now() - started) * 1000
            if attempt.outcome != "answered":
                attempt.output = self._splice.said
            if attempt.outcome != "answered" or attempt.probe or len(self._handle.attempts) > 1:
                _write_log(attempt)
            self._upstream.observer.attempt_ended(self._handle.last_end)

    def _deltas_of(self, attempt: Attempt, admission: Admission, started: float) -> Iterator[Delta]:
        """What the reader gets of one attempt. Raises EmptyAnswer when it is complete and has said nothing."""
        self._useful = False
        wire_tells_all = not self._splice.shown  # else the reader has to get less than the provider sends
        if len(self._handle.attempts) - self._before > 1:
            self._splice.restart()
            yield Restart()
        with closing(self._ask(attempt)) as deltas:
            for delta in deltas:
                if isinstance(delta, Piece):
                    new = self._hear(attempt, admission, delta.deltas, started)
                    events = delta.events if wire_tells_all else ()
                    if new or events:
                        yield Piece(new, events)
                elif isinstance(delta, Said):
                    yield from self._hear(attempt, admission, (delta,), started)
                else:
                    if (replacement := self._note(attempt, delta)) is not None:
                        yield replacement
                    yield delta

    def _hear(self, attempt: Attempt, admission: Admission, said: Sequence[Said], started: float) -> list[Said]:
        """What of the answer's next words the reader does not have yet."""
        if said and attempt.first_token_ms is None:
            attempt.first_token_ms = (self._upstream.now() - started) * 1000
            self._upstream.gate.responded(admission)
        self._useful = self._useful or any(map(_is_useful, said))
        take = self._splice.take
        new = [one for delta in said if (one := take(delta)) is not None]
        if self._handle.answering is not attempt and any(isinstance(one, _SHOWN) for one in new):
            self._handle.answering = attempt
        return new

    def _note(self, attempt: Attempt, delta: Delta) -> Replacement | None:
        """Note what is no part of the answer; at its end, what of an earlier attempt the reader has to forget."""
        if isinstance(delta, UsageReport):
            attempt.usage = delta.usage
        if not isinstance(delta, Finish):
            return None
        if delta.reason in ("stop", "tool_calls") and not self._useful:
            raise errors.EmptyAnswer("The provider finished without an answer.", provider=attempt.choice.provider)
        self._handle.answering = attempt
        return self._splice.finish()

    def _ask(self, attempt: Attempt) -> Generator[Delta, None, None]:
        """The deltas of the provider, within what is left of the turn's time."""
        left = self._journey.deadline - self._upstream.now()
        if left <= 0:
            raise errors.ProviderTimeout("The provider did not answer in time (total).", "total")
        adapter, usual = self._upstream.providers[attempt.choice.provider], self._upstream.deadlines
        if attempt.streamed:
            deadlines = Deadlines(usual.connect, usual.first_token, usual.idle, left)
            return adapter.stream(attempt.request, self._handle.begin_call(deadlines))
        # An answer in one piece is silent until it is finished.
        deadlines = Deadlines(usual.connect, left, left, left)
        return adapter.complete(attempt.request, self._handle.begin_call(deadlines))

    def _failed(self, attempt: Attempt, admission: Admission, error: errors.AppError) -> None:
        upstream, choice, began = self._upstream, attempt.choice, attempt.first_token_ms is not None
        attempt.outcome, attempt.error_code = "failed", error.error_code
        attempt.detail = "; ".join(getattr(error, "__notes__", []))
        if not isinstance(error, errors.ProviderError):
            # Its adapter cannot send this; another one may.
            error, reaction = errors.ProviderRejected(error.message, error.error_code), Reaction()
        elif isinstance(error, errors.StreamUnsupported) and attempt.streamed and self._completes(choice):
            upstream.remember_unstreamed(choice.target)
            upstream.gate.responded(admission)
            self._journey.again(choice)
            return
        else:
            reaction = react(error, upstream.policy, began=began, shown=self._splice.shown, draw=upstream.draw)
            if isinstance(error, _BROKEN_STREAM) and not began and self._completes(choice):
                self._in_one_piece.add(choice.target)
        upstream.gate.failed(admission, error)
        self._journey.failed(choice, error, reaction, began=began)

    def _completes(self, choice: ModelChoice) -> bool:
        return self._upstream.providers[choice.provider].completes


def _is_useful(delta: Said) -> bool:
    """Whether it is something that a person could use."""
    match delta:
        case TextDelta(text=text) | Replacement(text=text):
            return bool(text.strip())
    return not isinstance(delta, ReasoningDelta)


def _write_log(attempt: Attempt) -> None:
    write = log.warning if attempt.outcome == "failed" else log.info
    write(
        "upstream_attempt",
        provider=attempt.choice.provider,
        model=attempt.choice.model.name,
        outcome=attempt.outcome,
        error_code=attempt.error_code,
        detail=attempt.detail or None,
        ms=round(attempt.ms, 1),
        first_token_ms=attempt.first_token_ms and round(attempt.first_token_ms, 1),
        waited_ms=round(attempt.waited_ms),
        streamed=attempt.streamed,
        probe=attempt.probe,
    )
