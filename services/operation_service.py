"""What providers do beside answering: embeddings, pictures, moderation. Nothing of it is stored but what it costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from adapters.base_adapter import Deadlines
from domain.chat import ChatRequest, PromptMessage
from domain.errors import AppError, ProviderError, ProviderRejected, UnsupportedInput
from domain.generation import EndReason, FinishReason
from domain.ledger import EntryKind
from domain.messages import MessageRole, Part, Text
from domain.operations import Operation, OperationAnswer, OperationRequest
from domain.principal import Principal
from services.circuit_breaker import Admission
from services.front_desk import FrontDesk, booking_for, shutting_down
from services.generation_runner import end_reason_of
from services.journey import Journey
from services.key_limiter import Held, KeyLimiter
from services.ledger import Hold, Ledger
from services.model_choice import ModelChoice, ModelChooser, Passed
from services.prompt_builder import Count, prompt_tokens
from services.retry_policy import Reaction, react
from services.settlements import Due
from services.turn_plan import Plan
from services.upstream import Upstream
from services.upstream_handle import Attempt, UpstreamHandle

_KINDS: dict[Operation, EntryKind] = {
    "embeddings": EntryKind.EMBEDDING,
    "images": EntryKind.IMAGE,
    "moderations": EntryKind.MODERATION,
}


class Performance:
    """One operation on its way. ``public_model`` is the name that the client used."""

    def __init__(self, asked: OperationRequest, plan: Plan, hold: Hold, held: Held) -> None:
        self.id = hold.entry.generation_id
        self.created = int(time.time())
        self.asked = asked
        self.public_model = asked.model
        self.plan = plan
        self.hold = hold
        self.held = held
        self.upstream = UpstreamHandle()
        self.error: AppError | None = None
        self.finish_reason: FinishReason | None = None

    def completion_text(self) -> str:
        """Nothing that is counted as text."""
        return ""

    def cut(self) -> None:
        """End it, since this worker has to go."""
        self.upstream.stop()

    def settle(self, reason: EndReason) -> None:
        """Its own greenlet does that: what it waits for has been cut."""

    @property
    def end_reason(self) -> EndReason:
        """Why it ended."""
        if self.finish_reason:
            return EndReason.STOP
        return end_reason_of(self.error) if isinstance(self.error, ProviderError) else EndReason.SHUTDOWN


class OperationService:
    """Performs operations at the targets of a public model that offer them, by the policy of turns."""

    def __init__(
        self,
        chooser: ModelChooser,
        upstream: Upstream,
        ledger: Ledger,
        key_limiter: KeyLimiter,
        desk: FrontDesk,
        count: Count,
    ) -> None:
        self._key_limiter = key_limiter
        self._chooser = chooser
        self._upstream = upstream
        self._ledger = ledger
        self._desk = desk
        self._count = count

    def perform(
        self,
        principal: Principal,
        asked: OperationRequest,
        texts: Sequence[str],
        note: Callable[[Performance], object] = lambda _: None,
    ) -> tuple[OperationAnswer, Performance]:
        """What came of it. ``texts`` are what it is about, for counting; ``note`` is told what runs, before it does.

        Raises NotFound ``model_not_found``, UnsupportedInput ``unsupported_operation``, PermissionDenied,
        BudgetExceeded, LimitExceeded, Unavailable, and the ProviderError that says best why there is nothing.
        """
        self._desk.check_open()
        plan = self._plan(principal, asked, texts)
        hold = self._hold(principal, asked, plan)
        held = self._key_limiter.hold(principal.key, hold.entry.prompt_tokens or 0)
        self._desk.reserve(held, hold)
        one = Performance(asked, plan, hold, held)
        note(one)
        self._desk.enter(one)
        try:
            answer = self._answer(one)
            one.finish_reason = "stop"
        except AppError as error:
            one.error = error
            raise
        finally:
            self._settle(one)
        return answer, one

    def _plan(self, principal: Principal, asked: OperationRequest, texts: Sequence[str]) -> Plan:
        resolved = self._chooser.find(principal, asked.model)
        offered = [one for one in resolved.choices if asked.operation in self._upstream.providers[one.provider].offers]
        if not offered:
            message = f"The model {asked.model} has no {asked.operation}."
            raise UnsupportedInput(message, "unsupported_operation", ("model",))
        others = [Passed(one.target, "unsupported_operation") for one in resolved.choices if one not in offered]
        parts: list[Part] = [Text(text) for text in texts]
        request = ChatRequest(offered[0].model.name, [PromptMessage(MessageRole.USER, parts)])
        return Plan(tuple(offered), request, request, None, (*resolved.passed, *others), resolved.model)

    def _hold(self, principal: Principal, asked: OperationRequest, plan: Plan) -> Hold:
        booking = booking_for(principal, plan.public_model, _KINDS[asked.operation])
        prompt = prompt_tokens(plan.request, self._count)
        return self._ledger.prepare_counted(booking, plan.first.provider, plan.first.model.name, prompt)

    def _answer(self, one: Performance) -> OperationAnswer:
        upstream, handle = self._upstream, one.upstream
        deadline = upstream.now() + upstream.deadlines.total
        journey = Journey(one.plan.choices, upstream.policy, deadline, upstream.now)
        handle.trace += one.plan.passed
        waited_s = 0.0
        while (move := journey.next()) is not None and not handle.wait(move.wait_s):
            waited_s += move.wait_s
            admission = upstream.gate.enter(move.choice.target)
            if not isinstance(admission, Admission):
                if admission.pause_s is None:
                    handle.trace.append(Passed(move.choice.target, admission.reason))
                else:
                    journey.put_off(move.choice, admission.pause_s)
                continue
            attempt = Attempt(move.choice, one.plan.request, waited_s * 1000, streamed=False, probe=admission.probe)
            waited_s = 0.0
            answer = self._attempt(one, attempt, admission, journey)
            if answer is not None:
                return answer
        if handle.stopped:
            raise shutting_down()
        raise journey.error or upstream.planner.nobody_now(one.plan.choices)

    def _attempt(
        self, one: Performance, attempt: Attempt, admission: Admission, journey: Journey
    ) -> OperationAnswer | None:
        """One target's answer, or None; what follows from its failure is in ``journey``."""
        upstream, choice = self._upstream, attempt.choice
        one.upstream.trace.append(attempt)
        one.upstream.answering = attempt
        began = upstream.now()
        left = max(0.0, journey.deadline - began)
        deadlines = replace(upstream.deadlines, first_token=left, idle=left, total=left)
        try:
            answer = self._perform(one, choice, deadlines)
        except (ProviderError, UnsupportedInput) as error:
            if not one.upstream.stopped:
                attempt.outcome, attempt.error_code = "failed", error.error_code
                self._failed(attempt, admission, error, journey)
            return None
        else:
            attempt.outcome, attempt.usage = "answered", answer.usage
            upstream.gate.answered(admission)
            return answer
        finally:
            attempt.ms = (upstream.now() - began) * 1000
            upstream.observer.attempt_ended(one.upstream.ends[-1])

    def _perform(self, one: Performance, choice: ModelChoice, deadlines: Deadlines) -> OperationAnswer:
        request = replace(one.asked, model=choice.model.name)
        return self._upstream.providers[choice.provider].perform(request, one.upstream.begin_call(deadlines))

    def _failed(self, attempt: Attempt, admission: Admission, error: AppError, journey: Journey) -> None:
        upstream = self._upstream
        if isinstance(error, ProviderError):
            reaction = react(error, upstream.policy, began=False, shown=False, draw=upstream.draw)
        else:
            error, reaction = ProviderRejected(error.message, error.error_code), Reaction()
        upstream.gate.failed(admission, error)
        journey.failed(attempt.choice, error, reaction, began=False)

    def _settle(self, one: Performance) -> None:
        if not self._desk.leave(one):
            return
        charges = self._ledger.charges(one.upstream, one)
        error_code = one.error.error_code if one.error else None
        self._desk.settle(Due(one.hold, charges, one.end_reason, error_code), one.held)
