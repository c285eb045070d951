"""What holds a turn's upstream side together while it runs: its stop, its current call, and what was tried."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from adapters.base_adapter import Deadlines, UpstreamCall
from domain.chat import ChatRequest
from domain.observer import AttemptEnd
from domain.routes import target_name
from domain.usage import Usage
from services.model_choice import ModelChoice, Passed

AttemptOutcome = Literal["answered", "failed", "stopped"]


@dataclass(slots=True)
class Attempt:
    """One request to one target. ``ms`` and ``first_token_ms`` count from when it was sent, ``waited_ms`` came before.

    ``usage`` is the provider's count, if it gave one; ``output`` all that it wrote
    unless it answered, for counting it.
    """

    choice: ModelChoice
    request: ChatRequest
    waited_ms: float
    streamed: bool
    probe: bool
    outcome: AttemptOutcome = "stopped"
    error_code: str | None = None
    ms: float = 0
    first_token_ms: float | None = None
    usage: Usage | None = None
    output: str = ""
    began_at: float = field(default_factory=time.time)
    detail: str = ""  # for the log: what the provider said

    @property
    def note(self) -> str:
        """``provider/model``, with why it did not answer if it did not."""
        name = target_name(self.choice.provider, self.choice.model.name)
        return name if self.outcome == "answered" else f"{name}={self.error_code or self.outcome}"


class UpstreamHandle:
    """The way to a running turn's upstream side, for whoever wants to end it or to know how it went.

    One producer asks for calls and waits between them; anybody may :meth:`stop`, at any moment and any number of times.
    """

    def __init__(self) -> None:
        self.trace: list[Attempt | Passed] = []
        self.answering: Attempt | None = None  # whose text the answer is, or who was asked last
        self.stopped = False  # whether it was told to end
        # Both are set before ``stopped`` is read, and read after it is set: so nobody needs a lock.
        self._call: UpstreamCall | None = None
        self._waiting: threading.Event | None = None

    def stop(self) -> None:
        """End it: the current socket is shut, a wait is over, and no other call begins."""
        self.stopped = True
        if (waiting := self._waiting) is not None:
            waiting.set()
        if (call := self._call) is not None:
            call.abort()

    def wait(self, seconds: float) -> bool:
        """Wait, unless or until it is stopped; whether it is."""
        if seconds > 0:
            self._waiting = waiting = threading.Event()
            if not self.stopped:
                waiting.wait(seconds)
        return self.stopped

    def begin_call(self, deadlines: Deadlines) -> UpstreamCall:
        """The call of the next attempt, which takes the place of the last one's; aborted already if this is stopped."""
        self._call = call = UpstreamCall(deadlines)
        if self.stopped:
            call.abort()
        return call

    @property
    def attempts(self) -> list[Attempt]:
        """Every request that was sent, in order."""
        return [step for step in self.trace if isinstance(step, Attempt)]

    @property
    def ends(self) -> list[AttemptEnd]:
        """How every request went, in order, for those who count."""
        attempts = self.attempts
        return [_end_of(attempt, attempts[:number]) for number, attempt in enumerate(attempts)]

    @property
    def last_end(self) -> AttemptEnd:
        """How the last of them went."""
        *before, last = self.attempts
        return _end_of(last, before)

    @property
    def route(self) -> str:
        """Why this target: those that were passed over or failed, and why, up to the one that answered."""
        return " -> ".join(step.note for step in self.trace)

    @property
    def upstream_ms(self) -> float:
        """Milliseconds spent at providers and in the waits between attempts."""
        return sum(attempt.ms + attempt.waited_ms for attempt in self.attempts)

    @property
    def times(self) -> dict[str, float | None]:
        """For the log: the same, and what the answer's first word took."""
        first_token_ms = self.answering.first_token_ms if self.answering is not None else None
        return {
            "upstream_ms": round(self.upstream_ms, 1),
            "first_token_ms": first_token_ms and round(first_token_ms, 1),
        }


def _end_of(attempt: Attempt, before: Sequence[Attempt]) -> AttemptEnd:
    choice, first_token_ms = attempt.choice, attempt.first_token_ms
    again = any(one.choice.target == choice.target for one in before)
    return AttemptEnd(
        provider=choice.provider,
        model=choice.model.name,
        outcome=attempt.outcome,
        code=attempt.error_code,
        seconds=attempt.ms / 1000,
        first_token_s=None if first_token_ms is None else first_token_ms / 1000,
        repeats=("retry" if again else "failover") if before else None,
        began_at=attempt.began_at,
        usage=attempt.usage,
    )
