"""Counting within a time window: for this process, and with Redis for all of them."""

import threading
import time
from dataclasses import dataclass
from typing import cast

from limits.errors import StorageError
from limits.storage import RedisStorage, storage_from_string

_TIMEOUT_S = 0.25
_PAUSE_S = 5.0  # after a failure, Redis is left alone that long
_SWEEP_S = 10.0


@dataclass(slots=True)
class _Window:
    """``count`` is what this process has seen, ``total`` the true figure as far as it is known here."""

    ends_at: float
    count: int = 0
    total: int = 0


class RateCounter:
    """Counts events by key in fixed windows.

    It always counts here, and in Redis while that answers; the larger figure is true. So losing Redis
    forgets what other processes saw, but never lets anybody start anew. It never raises.

    Not the in-memory storage of the *limits* library: that one starts a thread on nearly every hit, which looks at
    all keys.
    """

    def __init__(self, redis_url: str) -> None:
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()
        self._sweep_at = time.time() + _SWEEP_S
        self._shared = _redis(redis_url) if redis_url else None
        self._has_failed = False
        self._pause_until = 0.0

    def add(self, key: str, window_s: int, amount: int = 1) -> int:
        """Count ``amount`` more for ``key``; how many there are in its window now. A negative amount takes back."""
        with self._lock:
            window = self._window(key, window_s)
            is_new, window.count = window.count == 0, window.count + amount
        shared = self._add_shared(key, window_s, amount)
        if shared and is_new:
            window.ends_at = self._shared_end(key, window.ends_at)
        window.total = max(window.count, shared)
        return window.total

    def total(self, key: str) -> int:
        """How many there were when this process counted ``key`` last; 0 once its window has ended."""
        window = self._windows.get(key)
        return window.total if window is not None and window.ends_at > time.time() else 0

    def ends_at(self, key: str) -> float:
        """When the window of ``key`` ends (a Unix time); now if it has none."""
        window = self._windows.get(key)
        return max(time.time(), window.ends_at if window is not None else 0.0)

    def seconds_left(self, key: str) -> float:
        """How long the window of ``key`` still lasts; 0 if it has none."""
        return max(0.0, self.ends_at(key) - time.time())

    def forget(self, key: str) -> None:
        """Begin anew, in this process."""
        self._windows.pop(key, None)

    def _window(self, key: str, window_s: int) -> _Window:
        moment = time.time()
        if moment >= self._sweep_at:
            self._sweep_at = moment + _SWEEP_S
            self._windows = {key: window for key, window in self._windows.items() if window.ends_at > moment}
        window = self._windows.get(key)
        if window is None or window.ends_at <= moment:
            window = self._windows[key] = _Window(moment + window_s)
        return window

    def _add_shared(self, key: str, window_s: int, amount: int) -> int:
        moment = time.monotonic()
        if self._shared is None or moment < self._pause_until:
            return 0
        if self._has_failed:
            self._pause_until = moment + _PAUSE_S  # this caller tries; the others need not wait for the same
        try:
            total = self._shared.incr(key, window_s, amount)
        except StorageError:
            self._has_failed, self._pause_until = True, time.monotonic() + _PAUSE_S
            return 0
        self._has_failed, self._pause_until = False, 0.0
        return total

    def _shared_end(self, key: str, otherwise: float) -> float:
        """When the window ends for all: others may have begun it before."""
        try:
            return min(otherwise, cast("RedisStorage", self._shared).get_expiry(key))
        except StorageError:
            return otherwise


def _redis(url: str) -> RedisStorage:
    # Here, because the package takes 10 MB that an installation without Redis saves.
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    options = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    storage = storage_from_string(url, key_prefix="unichat", wrap_exceptions=True, **options)  # type: ignore[arg-type]  # a Retry is passed on
    return cast("RedisStorage", storage)
