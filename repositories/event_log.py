"""The event log of each generation: appended by one producer, tailed by any number of readers.

This one lives in the process. The database is the record; the log carries the live tail, and is kept for a while after
the end so that a reader who was cut off can read on from where it was.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_KEEP_S = 300.0
_MAX_BYTES = 256 * 1024 * 1024  # of all ended logs
_OVERHEAD = 1024  # bytes of a log without events


@dataclass(frozen=True, slots=True)
class Batch:
    """Events after the asked sequence number, as (sequence number, encoded event); ``ended`` with the last of them."""

    events: Sequence[tuple[int, bytes]]
    ended: bool


@dataclass(slots=True)
class _Entry:
    events: list[bytes] = field(default_factory=list)
    size: int = _OVERHEAD
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class EventLog:
    """All logs of this worker. Sequence numbers start at 1."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._ended: deque[tuple[float, str, int]] = deque()  # when, which, bytes: the oldest first
        self._ended_bytes = 0
        self._lock = threading.Lock()

    def open(self, generation_id: str) -> None:
        """Begin an empty log."""
        self._purge()
        with self._lock:
            self._entries[generation_id] = _Entry()

    def append(self, generation_id: str, events: Sequence[bytes], *, last: bool = False) -> int:
        """Add encoded events and wake the readers; the sequence number of the newest. ``last`` ends the log."""
        entry = self._entries[generation_id]
        with entry.changed:
            entry.events.extend(events)
            entry.size += sum(map(sys.getsizeof, events))
            if last:
                entry.ended = True
                self._note_end(generation_id, entry.size)
            entry.changed.notify_all()
            return len(entry.events)

    def read(self, generation_id: str, after: int, timeout: float) -> Batch | None:
        """The events after ``after``, waiting up to ``timeout`` seconds for one; None if there is no such log here."""
        entry = self._entries.get(generation_id)
        if entry is None:
            return None
        with entry.changed:
            if len(entry.events) <= after and not entry.ended:
                entry.changed.wait(timeout)
            news = entry.events[after:]
            return Batch([(after + n, event) for n, event in enumerate(news, 1)], entry.ended)

    def _note_end(self, generation_id: str, size: int) -> None:
        with self._lock:
            self._ended.append((time.monotonic(), generation_id, size))
            self._ended_bytes += size

    def _purge(self) -> None:
        """Forget logs that ended long ago, and the oldest ended ones while all of them together are too large."""
        oldest = time.monotonic() - _KEEP_S
        with self._lock:
            while self._ended and (self._ended[0][0] < oldest or self._ended_bytes > _MAX_BYTES):
                _, generation_id, size = self._ended.popleft()
                self._ended_bytes -= size
                self._entries.pop(generation_id, None)
