"""Logs in the memory of this worker, and their readers."""

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from repositories.event_log import Batch

_KEEP_S = 300.0
_MAX_BYTES = 256 * 1024 * 1024  # of all ended logs
_OVERHEAD = 1024  # bytes of a log without events


class Ring:
    """The events of one log. Of a log that another worker writes, it is the copy that all readers here share.

    One writer at a time. No lock: a reader hangs up its bell, looks once more, and waits; who changes something does so
    first, and rings all bells then.
    """

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.size = _OVERHEAD
        self.ended = False
        self.stalled = False  # nothing comes: what it copies cannot be reached, or goes no further
        self.read_at = time.monotonic()
        self._bells: list[threading.Lock] = []

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for more."""
        return bool(self._bells)

    def append(self, events: Sequence[bytes], *, last: bool = False) -> int:
        """Add events and wake the readers; the number of the newest."""
        self.events.extend(events)
        self.size += sum(map(sys.getsizeof, events))
        self.ended = self.ended or last
        self._ring()
        return len(self.events)

    def stall(self, stalled: bool) -> None:
        """Say whether something may still come."""
        self.stalled = stalled
        self._ring()

    def read(self, after: int, timeout: float) -> Batch | None:
        """See :meth:`repositories.event_log.EventLog.read`."""
        if timeout > 0 and not self._is_news(after):
            self._wait(after, timeout)
        self.read_at = time.monotonic()
        ended, stalled = self.ended, self.stalled  # before the events: what comes in between is read the next time
        news = self.events[after:]
        if stalled and not news and not ended:
            return None
        return Batch(list(enumerate(news, after + 1)), ended)

    def _is_news(self, after: int) -> bool:
        return len(self.events) > after or self.ended or self.stalled

    def _wait(self, after: int, timeout: float) -> None:
        give_up = time.monotonic() + timeout
        while not self._is_news(after) and (left := give_up - time.monotonic()) > 0:
            bell = threading.Lock()
            bell.acquire()
            self._bells.append(bell)
            if self._is_news(after) or not bell.acquire(timeout=left):
                with suppress(ValueError):  # it was rung meanwhile
                    self._bells.remove(bell)

    def _ring(self) -> None:
        if self._bells:
            bells, self._bells = self._bells, []
            for bell in bells:
                bell.release()


class Rings:
    """All rings of this worker, with bounds on those that have ended."""

    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}
        self._ended: deque[tuple[float, str, int]] = deque()  # when, which, bytes: the oldest first
        self._ended_bytes = 0
        self._lock = threading.Lock()

    def get(self, generation_id: str) -> Ring | None:
        """One of them."""
        return self._rings.get(generation_id)

    def add(self, generation_id: str) -> Ring:
        """An empty one, or the one that is there."""
        self._purge()
        with self._lock:
            return self._rings.setdefault(generation_id, Ring())

    def append(self, generation_id: str, events: Sequence[bytes], *, last: bool) -> int:
        """Add to one that is there."""
        newest = self._rings[generation_id].append(events, last=last)
        if last:
            self.retire(generation_id)
        return newest

    def retire(self, generation_id: str) -> None:
        """Keep one for some minutes: nothing will be added to it."""
        size = self._rings[generation_id].size
        with self._lock:
            self._ended.append((time.monotonic(), generation_id, size))
            self._ended_bytes += size

    def forget(self, generation_id: str) -> None:
        """Let go of one that is not retired."""
        with self._lock:
            self._rings.pop(generation_id, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rings.clear()

    def _purge(self) -> None:
        """Forget logs that ended long ago, and the oldest ended ones while all of them together are too large."""
        oldest = time.monotonic() - _KEEP_S
        with self._lock:
            while self._ended and (self._ended[0][0] < oldest or self._ended_bytes > _MAX_BYTES):
                _, generation_id, size = self._ended.popleft()
                self._ended_bytes -= size
                self._rings.pop(generation_id, None)
