"""Counting within a time window: for this process, and with Redis for all of them."""

import time
from typing import cast

from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, storage_from_string

_TIMEOUT_S = 0.25
_PAUSE_S = 5  # after a failure, Redis is left alone that long


class RateCounter:
    """Counts events by key in fixed windows.

    It always counts here, and in Redis while that answers; the larger figure is true. So losing Redis
    forgets what other processes saw, but never lets anybody start anew.
    """

    def __init__(self, redis_url: str) -> None:
        self._local = MemoryStorage()
        self._shared = _redis(redis_url) if redis_url else None
        self._pause_until = 0.0

    def add(self, key: str, window_s: int, amount: int = 1) -> int:
        """Count ``amount`` more for ``key``; how many there are in its window now. A negative amount takes back."""
        local = self._local.incr(key, window_s, amount)
        return max(local, self._add_shared(key, window_s, amount))

    def seconds_left(self, key: str) -> float:
        """How long the window of ``key`` still lasts in this process; 0 if it has none."""
        return max(0.0, self._local.get_expiry(key) - time.time())

    def _add_shared(self, key: str, window_s: int, amount: int) -> int:
        if self._shared is None or time.monotonic() < self._pause_until:
            return 0
        try:
            return self._shared.incr(key, window_s, amount)
        except StorageError:
            self._pause_until = time.monotonic() + _PAUSE_S
            return 0


def _redis(url: str) -> RedisStorage:
    # Here, because the package takes 10 MB that an installation without Redis saves.
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    options = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    storage = storage_from_string(url, key_prefix="unichat", wrap_exceptions=True, **options)  # type: ignore[arg-type]  # a Retry is passed on
    return cast("RedisStorage", storage)
