"""Counting within a time window: for this process, and with Redis for all of them."""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

_SWEEP_S = 10.0


class SharedCounter(Protocol):
    """Counts for all processes together."""

    def add(self, key: str, window_s: int, amount: int) -> tuple[int, float] | None:
        """Count; how many there are now and the seconds until the window ends. None if it cannot be said now."""


@dataclass(slots=True)
class _Window:
    """``count`` is what this process has seen."""

    ends_at: float
    count: int = 0


class RateCounter:
    """Counts events by key in fixed windows.

    It always counts here, and in what is ``shared`` while that answers; the larger figure is true. So losing that
    forgets what other processes saw, but never lets anybody start anew. It never raises.
    """

    def __init__(self, shared: SharedCounter | None = None) -> None:
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()
        self._sweep_at = time.time() + _SWEEP_S
        self._shared = shared

    def add(self, key: str, window_s: int, amount: int = 1) -> int:
        """Count ``amount`` more for ``key``; how many there are in its window now. A negative amount takes back."""
        with self._lock:
            window = self._window(key, window_s)
            is_new, window.count = window.count == 0, window.count + amount
        total = window.count
        if self._shared is not None and (counted := self._shared.add(key, window_s, amount)):
            total = max(total, counted[0])
            if is_new:  # others may have begun the window before
                window.ends_at = min(window.ends_at, time.time() + counted[1])
        return total

    def ends_at(self, key: str) -> float:
        """When the window of ``key`` ends (a Unix time); now if it has none."""
        window = self._windows.get(key)
        return max(time.time(), window.ends_at if window is not None else 0.0)

    def seconds_left(self, key: str) -> float:
        """How long the window of ``key`` still lasts; 0 if it has none."""
        return max(0.0, self.ends_at(key) - time.time())

    def _window(self, key: str, window_s: int) -> _Window:
        moment = time.time()
        if moment >= self._sweep_at:
            self._sweep_at = moment + _SWEEP_S
            self._windows = {key: window for key, window in self._windows.items() if window.ends_at > moment}
        window = self._windows.get(key)
        if window is None or window.ends_at <= moment:
            window = self._windows[key] = _Window(moment + window_s)
        return window
