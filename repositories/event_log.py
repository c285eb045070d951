"""The event log of each generation: appended by one producer, tailed by any number of readers.

The database is the record; the log carries the live tail, and is kept for a while after the end so that a reader who
was cut off can read on from where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Batch:
    """Events after the asked sequence number, as (sequence number, encoded event); ``ended`` with the last of them."""

    events: Sequence[tuple[int, bytes]]
    ended: bool


class EventLog(Protocol):
    """All logs that this worker writes, and those that it can read. Sequence numbers start at 1."""

    def open(self, generation_id: str, epoch: int, session_id: str, /) -> None:
        """Begin an empty log, as its only writer; other workers that follow the session hear ``turn``."""

    def append(self, generation_id: str, events: Sequence[bytes], *, last: bool = False) -> int:
        """Add encoded events and wake the readers; the sequence number of the newest. ``last`` ends the log.

        An event has no line breaks. The producer waits for nobody here.
        """

    def read(self, generation_id: str, after: int, timeout: float) -> Batch | None:
        """The events after ``after``, waiting up to ``timeout`` seconds for one.

        None if there is no such log, or if it cannot be read on from here now.
        """

    def replay(self, generation_id: str, /) -> Sequence[bytes]:
        """All events of a log that another worker has left; none where those cannot be had."""

    def cut(self, generation_id: str, epoch: int, /) -> None:
        """Close the log of a worker that died, and shut that out: readers are to turn to the database."""

    def request_stop(self, generation_id: str, /) -> None:
        """Let the writer know at once that the generation is to stop, if there is a way; the database tells it too."""
