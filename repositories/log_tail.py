"""What other workers tell through Redis: one thread and one connection for all logs that are read here, and signals."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
import structlog

from repositories.log_ring import Rings
from repositories.log_scripts import SIGNALS, keys
from repositories.redis_link import RedisLink

log = structlog.get_logger()

_BLOCK_S = 1.0
_PATIENCE_S = 1.0  # beyond the block, before Redis counts as away
_AGAIN_S = 0.5
_GATHER_S = 0.01  # after news, for more of them
_MOST_EVENTS = 500  # of one log at once
_IDLE_S = 60.0  # a log that nobody has read for so long is let go

Fields = dict[bytes, bytes]
Entry = tuple[bytes, Fields]


class Tail:
    """Copies logs into rings, and hands signals to ``hear`` (its fields). All readers of a log cost one read."""

    def __init__(
        self, link: RedisLink, rings: Rings, wake_key: str, hear: Callable[[dict[bytes, bytes]], None]
    ) -> None:
        self._client = link.client(_BLOCK_S + _PATIENCE_S)
        self._rings = rings
        self._wake_key = wake_key
        self._hear = hear
        self._places = {wake_key: b"0"}  # the newest entries seen of what is no log
        self._followed: dict[str, str] = {}  # key -> generation
        self._heard_at = time.monotonic()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lag_s(self) -> float:
        """For how long Redis has owed an answer here, in seconds."""
        return 0.0 if self._thread is None else max(0.0, time.monotonic() - self._heard_at - _BLOCK_S)

    def start(self) -> None:
        """Begin to listen; it may come again."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read_forever, name="log-tail", daemon=True)
                self._thread.start()

    def follow(self, generation_id: str) -> None:
        """Copy this log into its ring from now on. What waits for an answer now has to be woken for it."""
        with self._lock:
            self._followed[keys(generation_id)[0]] = generation_id
        self.start()

    def close(self) -> None:
        """End; within a second or two."""
        self._closed.set()

    def _read_forever(self) -> None:
        while not self._closed.is_set():
            try:
                news = self._read()
            except redis.RedisError:
                self._stall(True)
                self._closed.wait(_AGAIN_S)
                continue
            except Exception:
                log.exception("log_tail_failed")
                self._closed.wait(_AGAIN_S)
                continue
            self._heard_at = time.monotonic()
            self._stall(False)
            if news:
                self._closed.wait(_GATHER_S)
            else:
                self._let_go()
        self._client.close()

    def _read(self) -> bool:
        if SIGNALS not in self._places:  # from here on
            newest: Any = self._client.xrevrange(SIGNALS, count=1)
            self._places[SIGNALS] = newest[0][0] if newest else b"0"
        answer: Any = self._client.xread(self._cursors(), count=_MOST_EVENTS, block=int(_BLOCK_S * 1000))
        for key, entries in answer or ():
            self._take(key.decode(), entries)
        return bool(answer)

    def _cursors(self) -> dict[Any, Any]:
        cursors: dict[Any, Any] = dict(self._places)
        with self._lock:
            followed = list(self._followed.items())
        for key, generation_id in followed:
            ring = self._rings.get(generation_id)
            cursors[key] = f"{len(ring.events) if ring else 0}-0"
        return cursors

    def _take(self, key: str, entries: Sequence[Entry]) -> None:
        generation_id = self._followed.get(key)
        if generation_id is not None:
            self._fill(generation_id, entries)
        elif key in self._places:
            self._places[key] = entries[-1][0]
            for _, fields in entries if key == SIGNALS else ():
                self._hear(fields)

    def _fill(self, generation_id: str, entries: Sequence[Entry]) -> None:
        events = [fields[b"d"] for _, fields in entries if b"d" in fields]
        closing = entries[-1][1]
        ring = self._rings.get(generation_id)
        if ring is None or b"end" in closing or b"cut" in closing:
            self._unfollow(generation_id)
        if ring is not None:
            self._rings.append(generation_id, events, last=b"end" in closing)
            if b"cut" in closing:
                self._rings.retire(generation_id)
                ring.stall(True)

    def _stall(self, stalled: bool) -> None:
        for generation_id in list(self._followed.values()):
            ring = self._rings.get(generation_id)
            if ring is not None and ring.stalled != stalled:
                ring.stall(stalled)

    def _let_go(self) -> None:
        moment = time.monotonic()
        for generation_id in list(self._followed.values()):
            ring = self._rings.get(generation_id)
            if ring is not None and not ring.is_awaited and moment - ring.read_at > _IDLE_S:
                self._unfollow(generation_id)
                self._rings.forget(generation_id)

    def _unfollow(self, generation_id: str) -> None:
        with self._lock:
            self._followed.pop(keys(generation_id)[0], None)
