"""Logs in the memory of this worker, and their readers."""

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence

from repositories.event_log import Batch

_KEEP_S = 300.0
_MAX_BYTES = 256 * 1024 * 1024  # of all ended logs
_OVERHEAD = 1024  # bytes of a log without events


class Ring:
    """The events of one log. Of a log that another worker writes, it is the copy that all readers here share."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.size = _OVERHEAD
        self.ended = False
        self.stalled = False  # nothing comes: what it copies cannot be reached, or goes no further
        self.readers = 0
        self.read_at = time.monotonic()
        self._changed = threading.Condition()

    def append(self, events: Sequence[bytes], *, last: bool = False) -> int:
        """Add events and wake the readers; the number of the newest."""
        with self._changed:
            self.events.extend(events)
            self.size += sum(map(sys.getsizeof, events))
            self.ended = self.ended or last
            self._changed.notify_all()
            return len(self.events)

    def stall(self, stalled: bool) -> None:
        """Say whether something may still come."""
        with self._changed:
            self.stalled = stalled
            self._changed.notify_all()

    def read(self, after: int, timeout: float) -> Batch | None:
        """See :meth:`repositories.event_log.EventLog.read`."""
        with self._changed:
            self.readers += 1
            self._changed.wait_for(lambda: len(self.events) > after or self.ended or self.stalled, timeout)
            self.readers -= 1
            self.read_at = time.monotonic()
            news = self.events[after:]
            if self.stalled and not news and not self.ended:
                return None
            return Batch([(after + n, event) for n, event in enumerate(news, 1)], self.ended)


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
