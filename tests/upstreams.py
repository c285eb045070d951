"""Providers that do as they are told, and a clock that only the tests move."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.base_adapter import AdapterConfig, BaseAdapter, Deadlines, UpstreamCall
from domain.breaker import BreakerPolicy
from domain.chat import Capabilities, ChatRequest, ModelInfo, PromptMessage
from domain.deltas import Delta, Finish, TextDelta
from domain.messages import MessageRole, Part, Text
from repositories.breaker_store import MemoryBreakerStore
from services.answer import Answer
from services.circuit_breaker import CircuitBreakers
from services.model_choice import ModelChoice, Resolved
from services.pace import Pace
from services.retry_policy import RetryPolicy
from services.target_gate import TargetGate
from services.turn_plan import Plan, TurnPlanner
from services.upstream import Upstream
from services.upstream_handle import UpstreamHandle

Step = Delta | Exception | float  # say it, fail, or let so many seconds pass
WORDS = 20


class Clock:
    """Moves when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Handle(UpstreamHandle):
    """Its waits pass at once. ``at_wait`` is called before each."""

    def __init__(self, clock: Clock, at_wait: Callable[["Handle"], None] | None = None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._clock = clock
        self._at_wait = at_wait

    def wait(self, seconds: float) -> bool:
        if seconds:
            self.waits.append(round(seconds, 6))
            if self._at_wait:
                self._at_wait(self)
        if not self.stopped:
            self._clock.seconds += seconds
        return self.stopped


class Puppet(BaseAdapter):
    """A provider whose answers are listed; the last one is repeated for ever."""

    def __init__(self, name: str, clock: Clock, answers: Sequence[Sequence[Step]], **model: Any) -> None:
        super().__init__(name, AdapterConfig())
        self.asked: list[float] = []
        self.requests: list[ChatRequest] = []
        self.whole = 0
        self._clock = clock
        self._answers = list(answers)
        self._window = model.pop("window", 100_000)
        self._completes = model.pop("completes", False)
        self._capabilities = Capabilities(**model)

    @property
    def enabled(self) -> bool:
        return True

    @property
    def completes(self) -> bool:
        return bool(self._completes)

    @property
    def models(self) -> Sequence[ModelInfo]:
        return [self.model("m")]

    def model(self, name: str) -> ModelInfo:
        return ModelInfo(name, self._window, 1000, self._capabilities)

    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        self.asked.append(self._clock.seconds)
        self.requests.append(request)
        steps = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                self._clock.seconds += step
            else:
                yield step

    def _complete(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        self.whole += 1
        return self._stream(request, call)


@dataclass
class Stage:
    """One upstream with puppets ``a``, ``b``, ... as the targets of every turn, in that order."""

    clock: Clock
    upstream: Upstream
    choices: tuple[ModelChoice, ...]
    handles: list[Handle] = field(default_factory=list)

    @property
    def planner(self) -> TurnPlanner:
        return self.upstream.planner

    def plan(self, *parts: Part, state_of: str | None = None, **fields: Any) -> Plan:
        given = list(parts) or [Text("hello")]
        asked = ChatRequest("", [PromptMessage(MessageRole.USER, given)], **fields)
        return self.planner.plan(Resolved(None, "smart", self.choices), asked, state_of)

    def answer(self, handle: Handle | None = None, plan: Plan | None = None) -> Answer:
        """One turn's answer as a reader has it in the end. Raises as the upstream does; see :meth:`partly`."""
        answer = Answer()
        self.fill(answer, handle, plan)
        return answer

    def partly(self) -> tuple[Answer, Exception | None]:
        """The same, with the error that ended it."""
        answer = Answer()
        try:
            self.fill(answer)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
            return answer, error
        return answer, None

    def fill(self, answer: Answer, handle: Handle | None = None, plan: Plan | None = None) -> None:
        handle = handle or Handle(self.clock)
        self.handles.append(handle)
        for delta in self.upstream.answer(plan or self.plan(), handle):
            answer.add(delta)

    @property
    def last(self) -> Handle:
        return self.handles[-1]


def stage(
    *puppets: Puppet,
    clock: Clock,
    policy: RetryPolicy | None = None,
    breaker: BreakerPolicy | None = None,
    deadlines: Deadlines | None = None,
) -> Stage:
    """An upstream over puppets; back-offs are exactly as long as the policy says."""
    gate = TargetGate(CircuitBreakers(MemoryBreakerStore(clock), breaker), Pace())
    providers = {puppet.name: puppet for puppet in puppets}
    planner = TurnPlanner(providers, gate.breakers.open_for, len)
    upstream = Upstream(
        providers,
        gate,
        planner,
        deadlines or Deadlines(),
        policy,
        now=clock,
        draw=lambda: 0.5,
    )
    return Stage(clock, upstream, tuple(ModelChoice(puppet.name, puppet.model("m")) for puppet in puppets))


def said(text: str, pieces: int = 4) -> list[Step]:
    """A whole answer."""
    step = max(1, len(text) // pieces)
    return [*(TextDelta(text[at : at + step]) for at in range(0, len(text), step)), Finish("stop")]


def text_of(answer: Answer) -> str:
    """The text that is saved."""
    return "".join(part.text for part in answer.parts(complete=True) if isinstance(part, Text))
