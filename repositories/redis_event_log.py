"""The event log on Redis Streams: every worker can read on, from any event, what any other one writes."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from domain.errors import Unavailable
from repositories.event_log import Batch
from repositories.log_outbox import Outbox
from repositories.log_ring import Ring, Rings
from repositories.log_scripts import CUT, ENDED_MS, RUNNING_MS, keys
from repositories.log_tail import Tail
from repositories.redis_link import RedisLink
from repositories.redis_signals import RedisSignals

_WAKE_MS = 60_000


class RedisEventLog:
    """Logs of this worker are rings that are copied to Redis; logs of others are copied from there into rings.

    So readers always read rings, the producer never waits, and losing Redis is noticed only by those who read what
    another worker writes: :meth:`read` is None for them until it is back.
    """

    def __init__(self, link: RedisLink, worker: str) -> None:
        self.rings = Rings()
        self.signals = RedisSignals(link, worker, self._post)
        self.outbox = Outbox(link, worker, self.signals.hear_own)
        self._wake_key = f"unichat:wake:{worker}"
        self.tail = Tail(link, self.rings, self._wake_key, self.signals.hear)
        self._link = link
        self._worker = worker

    def open(self, generation_id: str, epoch: int, session_id: str) -> None:
        """Begin an empty log, as its only writer."""
        self.outbox.add(generation_id, self.rings.add(generation_id), self._token(epoch), session_id)

    def append(self, generation_id: str, events: Sequence[bytes], *, last: bool = False) -> int:
        """Add events: here at once, in Redis within some milliseconds."""
        newest = self.rings.append(generation_id, events, last=last)
        self.outbox.touch(generation_id)
        return newest

    def read(self, generation_id: str, after: int, timeout: float) -> Batch | None:
        """The events after ``after``, whoever writes them."""
        ring = self.rings.get(generation_id) or self._join(generation_id)
        return None if ring is None else ring.read(after, timeout)

    def replay(self, generation_id: str) -> Sequence[bytes]:
        """All events that are in Redis; none if there are none, or while it is away."""
        try:
            entries = self._link.call(lambda client: client.xrange(keys(generation_id)[0]))
        except Unavailable:
            return ()
        return [fields[b"d"] for _, fields in entries if b"d" in fields]

    def cut(self, generation_id: str, epoch: int) -> None:
        """Close the log of a worker that died. While Redis is away, readers look into the database by themselves."""
        owner = self._token(epoch) + ":reaper"
        with suppress(Unavailable):
            self._link.call(lambda client: client.eval(CUT, 2, *keys(generation_id), owner, str(ENDED_MS)))

    def request_stop(self, generation_id: str) -> None:
        """Call out for the owner, and leave word where it writes."""
        meta = keys(generation_id)[1]
        self._post(lambda pipe: pipe.hset(meta, "stop", "1").pexpire(meta, RUNNING_MS))
        self.signals.send("stop", generation_id)

    def close(self) -> None:
        """Bring what is left to Redis, and end."""
        self.outbox.close()
        self.tail.close()

    def _join(self, generation_id: str) -> Ring | None:
        """The ring that copies another worker's log, if that can be read now."""
        try:
            exists = self._link.call(lambda client: client.exists(keys(generation_id)[0]))
        except Unavailable:
            return None
        if not exists:
            return None
        ring = self.rings.add(generation_id)
        self.tail.follow(generation_id)
        wake = self._wake_key
        self._post(lambda pipe: pipe.xadd(wake, {"w": "1"}, maxlen=1).pexpire(wake, _WAKE_MS))
        return ring

    def _post(self, post: Any) -> None:
        self.outbox.post(post)

    def _token(self, epoch: int) -> str:
        return f"{self._worker}:{epoch}"
