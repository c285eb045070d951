"""The event log of a worker that shares it with no other."""

from collections.abc import Sequence

from repositories.event_log import Batch
from repositories.log_ring import Rings


class MemoryEventLog:
    """In this process alone: nothing is seen of what other workers write, and they see nothing of this."""

    def __init__(self) -> None:
        self.rings = Rings()

    def open(self, generation_id: str, _epoch: int, _session_id: str) -> None:
        """Begin an empty log."""
        self.rings.add(generation_id)

    def append(self, generation_id: str, events: Sequence[bytes], *, last: bool = False) -> int:
        """Add events."""
        return self.rings.append(generation_id, events, last=last)

    def read(self, generation_id: str, after: int, timeout: float) -> Batch | None:
        """The events after ``after``; None if there is no such log here."""
        ring = self.rings.get(generation_id)
        return None if ring is None else ring.read(after, timeout)

    def replay(self, _generation_id: str) -> Sequence[bytes]:
        """None: what another worker had in its memory is gone with it."""
        return ()

    def cut(self, _generation_id: str, _epoch: int) -> None:
        """Nobody could read it."""

    def request_stop(self, _generation_id: str) -> None:
        """There is no way but the database's."""
