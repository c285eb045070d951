"""Circuit breakers: a target that keeps failing is left alone, and found again by single probes."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from domain.breaker import BreakerPolicy, BreakerState, on_trial, opened, probing
from repositories.breaker_store import BreakerStore

log = structlog.get_logger()

_MANY = 1000
_COUNTED = 200  # ends that are remembered per target


@dataclass(frozen=True, slots=True)
class Admission:
    """One attempt may go to ``target``; ``at`` is when, on the store's clock."""

    target: str
    at: float
    probe: bool = False


@dataclass(slots=True)
class _Ends:
    """When attempts on one target ended lately."""

    failures: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))
    answers: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))

    def since(self, moment: float) -> "_Ends":
        for ends in (self.failures, self.answers):
            while ends and ends[0] < moment:
                ends.popleft()
        return self


class CircuitBreakers:
    """One breaker per target. Failures are counted by each process; that one is open, all know who share the store."""

    def __init__(self, store: BreakerStore, policy: BreakerPolicy | None = None) -> None:
        self._store = store
        self._policy = policy or BreakerPolicy()
        self._ends: dict[str, _Ends] = {}
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds on the clock of :class:`Admission`."""
        return self._store.now()

    def open_for(self, target: str) -> tuple[str, float] | None:
        """Why it is open and for how many seconds; None if an attempt may go out, be it as a probe."""
        state = self._store.get(target)
        if state is None or state.trial:
            return None
        left = state.probe_at - self.now()
        return (state.reason, left) if left > 0 else None

    def admit(self, target: str, now: float) -> Admission | None:
        """Leave for one attempt; None while the breaker is open. Whoever is admitted reports how it went."""
        state = self._store.get(target)
        if state is None or state.trial:
            return Admission(target, now)
        if state.probe_at <= now and self._store.swap(target, state, probing(state, now)):
            return Admission(target, now, probe=True)
        return None

    def responded(self, admission: Admission) -> None:
        """The target is there again: it has begun to answer, or said what is wrong with the request."""
        state = self._store.get(admission.target)
        if admission.probe and state is not None and not state.trial:
            self._store.swap(admission.target, state, on_trial(state, self.now()))

    def answered(self, admission: Admission) -> None:
        """It gave a whole answer."""
        if admission.target in self._ends:
            with self._lock:
                if ends := self._ends.get(admission.target):
                    ends.answers.append(self.now())
        state = self._store.get(admission.target)
        passed = state is not None and state.trial and _counts(admission, state)
        if passed and self._store.swap(admission.target, state, None):
            log.info("breaker_closed", target=admission.target)

    def failed(self, admission: Admission, reason: str, wait_s: float = 0) -> None:
        """It failed by its own fault; ``reason`` in a word, ``wait_s`` is how long it asked to be left alone."""
        target, state, now = admission.target, self._store.get(admission.target), self.now()
        if state is None:
            if not self._too_many(target, now):
                return
        elif not (_counts(admission, state) if state.trial else admission.probe):
            return  # it began before the breaker opened, and says nothing new
        new = opened(state, self._policy, reason=reason, now=now, wait_s=wait_s)
        if self._store.swap(target, state, new):
            log.warning("breaker_opened", target=target, reason=reason, seconds=round(new.probe_at - now, 1))

    def states(self) -> Mapping[str, BreakerState]:
        """Every breaker that is not closed."""
        return self._store.all()

    def _too_many(self, target: str, now: float) -> bool:
        with self._lock:
            self._forget_old(now)
            ends = self._ends.setdefault(target, _Ends()).since(now - self._policy.window_s)
            ends.failures.append(now)
            tripped = len(ends.failures) >= self._policy.failures and len(ends.failures) >= len(ends.answers)
            if tripped:
                del self._ends[target]
            return tripped

    def _forget_old(self, now: float) -> None:
        """Model names come from outside; the targets that failed once must not fill the memory."""
        if len(self._ends) >= _MANY:
            start = now - self._policy.window_s
            self._ends = {target: ends for target, ends in self._ends.items() if ends.since(start).failures}


def _counts(admission: Admission, state: BreakerState) -> bool:
    """Whether an attempt says something about a target on trial: it must have begun after the outage."""
    return admission.probe or admission.at >= state.since
