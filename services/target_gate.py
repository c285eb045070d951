"""Who may ask which target now, and what its answers and failures mean for the others."""

from dataclasses import dataclass

from domain import errors
from repositories.breaker_store import BreakerStore
from services.circuit_breaker import Admission, CircuitBreakers
from services.pace import Pace

# What is the provider's failure, in the words of a response header. Everything else says that it works.
_REASONS: tuple[tuple[type[errors.ProviderError], str], ...] = (
    (errors.ProviderRateLimited, "429"),
    (errors.ProviderUnavailable, "unavailable"),
    (errors.ProviderTimeout, "timeout"),
    (errors.ProviderGarbage, "garbage"),
    (errors.UpstreamCut, "cut"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not now: ``reason`` for people who ask why. ``pause_s``: worth to be waited for; None: ask somebody else."""

    reason: str
    pause_s: float | None = None


class TargetGate:
    """Circuit breaker and pace of every target."""

    def __init__(self, breakers: CircuitBreakers, pace: Pace) -> None:
        self.breakers = breakers
        self._pace = pace

    @classmethod
    def over(cls, store: BreakerStore) -> "TargetGate":
        """One with the usual figures over a store."""
        return cls(CircuitBreakers(store), Pace())

    def enter(self, target: str) -> Admission | Refusal:
        """Leave to ask the target once. Whoever has it reports how it went."""
        # The breaker is looked at first: a probe that is claimed must go out, and a pace that is taken be used.
        note, now = self.open_note(target), self.breakers.now()
        if note is None and (pause := self._pace.enter(target, now)):
            return Refusal("paced", pause)
        admission = self.breakers.admit(target, now) if note is None else None
        return admission or Refusal(note or "open(probed elsewhere)")

    def open_note(self, target: str) -> str | None:
        """``open(429,12s)`` for a target that is left alone, and for how long still; else None."""
        found = self.breakers.open_for(target)
        return None if found is None else f"open({found[0]},{max(1, round(found[1]))}s)"

    def responded(self, admission: Admission) -> None:
        """The answer has begun."""
        self.breakers.responded(admission)

    def answered(self, admission: Admission) -> None:
        """The answer is whole."""
        self._pace.answered(admission.target)
        self.breakers.answered(admission)

    def failed(self, admission: Admission, error: errors.ProviderError) -> None:
        """It failed; what is the request's own fault, or that of our own deadline, is not held against the target."""
        if isinstance(error, errors.ProviderTimeout) and error.stage == "total":
            return
        reason = next((word for kind, word in _REASONS if isinstance(error, kind)), None)
        if reason is not None:
            self.breakers.failed(admission, reason, error.retry_after or 0)
        else:
            self.breakers.responded(admission)
        if not isinstance(error, errors.ProviderRejected):
            self._pace.failed(admission.target, admission.at, self.breakers.now())
