"""The states of circuit breakers in Redis, where all nodes see them."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import redis

from domain.breaker import BreakerState
from domain.errors import Unavailable
from repositories.redis_link import RedisLink

_KEY = "unichat:breakers"  # one hash: target -> state
_KEPT_MS = 24 * 3600 * 1000  # after the last change
_SWAP = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""

_decode = msgspec.json.Decoder(BreakerState).decode
_encode = msgspec.json.Encoder().encode


class RedisBreakerStore:
    """All states, read at once and at most every ``fresh_s`` seconds, by whichever turn needs them; changed one by one.

    The clock is Redis's, so the nodes' own clocks need not agree. While Redis is away the process goes on with what it
    knows, for itself alone; when it is back, its states count.
    """

    def __init__(self, link: RedisLink, fresh_s: float = 0.5) -> None:
        self._link = link
        self._fresh_s = fresh_s
        self._fresh_until = 0.0
        self._offset = time.time() - time.monotonic()
        self._states: dict[str, BreakerState] = {}
        self._stored: dict[str, bytes] = {}  # the states as Redis has them
        self._reading = threading.Lock()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds by Redis's clock."""
        return time.monotonic() + self._offset

    def get(self, target: str) -> BreakerState | None:
        """The state of one."""
        self._refresh()
        return self._states.get(target)

    def all(self) -> Mapping[str, BreakerState]:
        """The state of each."""
        self._refresh()
        return dict(self._states)

    def swap(self, target: str, old: BreakerState | None, new: BreakerState | None) -> bool:
        """Compare and set, over all nodes."""
        with self._lock:
            if self._states.get(target) != old:
                return False
            if self._swap_stored(target, b"" if new is None else _encode(new)):
                _put(self._states, target, new)
                return True
            self._fresh_until = 0
        return False

    def _swap_stored(self, target: str, new: bytes) -> bool:
        old = self._stored.get(target, b"")
        try:
            won = bool(self._link.call(lambda client: client.eval(_SWAP, 1, _KEY, target, old, new, str(_KEPT_MS))))
        except Unavailable:
            return True
        if won:
            _put(self._stored, target, new or None)
        return won

    def _refresh(self) -> None:
        if time.monotonic() < self._fresh_until or not self._reading.acquire(blocking=False):
            return  # fresh enough, or somebody is at it
        try:
            (seconds, microseconds), held = self._link.call(_read)
            self._take(seconds + microseconds / 1e6, held)
        except Unavailable:
            pass  # what is known here counts
        finally:
            self._reading.release()

    def _take(self, now: float, held: Mapping[bytes, bytes]) -> None:
        stored = {target.decode(): state for target, state in held.items()}
        states = {target: state for target, raw in stored.items() if (state := _readable(raw))}
        with self._lock:
            self._offset = now - time.monotonic()
            self._stored, self._states = stored, states
            self._fresh_until = time.monotonic() + self._fresh_s


def _read(client: redis.Redis) -> Any:
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hgetall(_KEY)
        return pipe.execute()


def _put(values: dict[str, Any], key: str, value: object) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _readable(raw: bytes) -> BreakerState | None:
    """None for what another version has written: closed, then, and the next failure writes it anew."""
    try:
        return _decode(raw)
    except msgspec.MsgspecError:
        return None
