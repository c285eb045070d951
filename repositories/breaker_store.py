"""Where the states of circuit breakers are held: in this process. See redis_breaker_store.py for all nodes."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from domain.breaker import BreakerState


class BreakerStore(Protocol):
    """The states of all breakers that are not closed, by target."""

    def now(self) -> float:
        """Seconds on the clock that all who share the store have in common."""

    def get(self, target: str) -> BreakerState | None:
        """The state of one, at most a second old; None if it is closed."""

    def all(self) -> Mapping[str, BreakerState]:
        """The state of each."""

    def swap(self, target: str, old: BreakerState | None, new: BreakerState | None) -> bool:
        """Put ``new`` in the place of ``old`` (None: closed); false if somebody has changed it in the meantime."""


class MemoryBreakerStore:
    """For one process alone. ``now`` is its clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._states: dict[str, BreakerState] = {}
        self._lock = threading.Lock()

    def get(self, target: str) -> BreakerState | None:
        """The state of one."""
        return self._states.get(target)

    def all(self) -> Mapping[str, BreakerState]:
        """The state of each."""
        with self._lock:
            return dict(self._states)

    def swap(self, target: str, old: BreakerState | None, new: BreakerState | None) -> bool:
        """Compare and set."""
        with self._lock:
            if self._states.get(target) != old:
                return False
            if new is None:
                self._states.pop(target, None)
            else:
                self._states[target] = new
            return True
