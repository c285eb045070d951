"""Following a session: each of its generations as it begins, whichever request and whichever worker began it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog

from domain.errors import LimitExceeded, NotFound, Unavailable
from domain.generation import GenerationStatus
from domain.principal import Principal
from models import GenerationEntity
from repositories.signals import Signals
from repositories.unit_of_work import OpenUnitOfWork
from services.event_stream_service import EventStreamService, Item, one_by_one
from services.turn import Turn

log = structlog.get_logger()

_POLL_S = 2.0  # how late, at most, a turn that another worker began is noticed, where no signal tells it
_NEWEST = 50  # generations of a session that are looked at: a reader who missed more has the history


class EventPlace(NamedTuple):
    """An event in a session: the generation, and the event's number in its log."""

    generation_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Followed:
    """One generation of the session, with its events."""

    generation_id: str
    items: Iterator[Item]


class SessionFeed:
    """Tells readers of a session about the generations that begin in it.

    A turn of this worker wakes them at once, and one of another worker where its signal comes through. Besides, one
    thread asks the database about all followed sessions together, while there are any: a session's ``updated_at``
    changes with every turn.
    """

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        event_streams: EventStreamService,
        signals: Signals,
        max_readers_per_user: int,
    ) -> None:
        self._unit_of_work = unit_of_work
        self.event_streams = event_streams
        self._signals = signals
        self._max_readers_per_user = max_readers_per_user
        self._readers: set[SessionReader] = set()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        signals.listen("turn", lambda session_id: self._wake({session_id}))

    def follow(self, principal: Principal, session_id: str, last: EventPlace | None) -> "SessionReader":
        """Read the session's generations: the one that runs now and those to come, or all that came after ``last``.

        The caller closes the reader. Raises NotFound, and LimitExceeded for a user with too many readers.
        """
        reader = SessionReader(self, principal, session_id)
        with self._lock:
            if Counter(one.user_id for one in self._readers)[principal.user_id] >= self._max_readers_per_user:
                raise LimitExceeded("You follow too many sessions at once.", "too_many_streams", retry_after=5)
            self._readers.add(reader)  # before it looks at what is there: nothing can begin unnoticed in between
            self._start_watcher()
        try:
            self._signals.follow([session_id])
            reader.begin(last)
        except BaseException:
            reader.close()
            raise
        return reader

    def announce(self, turn: Turn) -> None:
        """A generation has begun in this worker; its log tells the others."""
        if self._readers:
            self._wake({turn.session_id})

    def close(self) -> None:
        """End all readers: this worker is going down, and another one serves them when they come back."""
        for reader in list(self._readers):
            reader.close()

    def leave(self, reader: "SessionReader") -> None:
        """A reader has gone."""
        with self._lock:
            self._readers.discard(reader)

    def newest(self, principal: Principal, session_id: str) -> Sequence[GenerationEntity]:
        """The session's newest generations, oldest first. Raises NotFound once the session is gone."""
        with self._unit_of_work(writes=False) as uow:
            if uow.sessions.get(session_id, principal.user_id) is None:
                raise NotFound("There is no such session.", "session_not_found")
            return uow.generations.newest(session_id, principal.user_id, limit=_NEWEST)

    def generation(self, principal: Principal, generation_id: str) -> GenerationEntity | None:
        """A generation of this user."""
        with self._unit_of_work(writes=False) as uow:
            return uow.generations.get(generation_id, principal.user_id)

    # What other workers do

    def _start_watcher(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="session-feed", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        seen: dict[str, datetime] = {}
        while session_ids := self._followed():
            try:
                seen = self._look(session_ids, seen)
            except Unavailable as error:
                log.warning("session_feed_waits", error=error.message)
            except Exception:
                log.exception("session_feed_failed")
            time.sleep(_POLL_S)

    def _look(self, session_ids: set[str], seen: dict[str, datetime]) -> dict[str, datetime]:
        """Wake the readers of sessions that have changed, or are gone, since ``seen``; how they stand now."""
        self._signals.follow(session_ids)
        with self._unit_of_work(writes=False) as uow:
            found = uow.sessions.last_changes(session_ids)
        self._wake({session_id for session_id in session_ids if found.get(session_id) != seen.get(session_id)})
        return found

    def _followed(self) -> set[str]:
        with self._lock:
            session_ids = {reader.session_id for reader in self._readers}
            if not session_ids:
                self._watcher = None
        return session_ids

    def _wake(self, session_ids: set[str]) -> None:
        with self._lock:
            readers = [reader for reader in self._readers if reader.session_id in session_ids]
        for reader in readers:
            reader.wake()


class SessionReader:
    """One reader of a session: an iterator of its generations in their order, and None where nothing happens."""

    def __init__(self, feed: SessionFeed, principal: Principal, session_id: str) -> None:
        self.session_id = session_id
        self.user_id = principal.user_id
        self._feed = feed
        self._principal = principal
        self._known: set[str] = set()
        self._resume: EventPlace | None = None
        self._news = threading.Event()
        self._closed = False
        self._check = feed.event_streams.check_of(principal)

    def begin(self, last: EventPlace | None) -> None:
        """Find where to begin. Raises NotFound for no such session, or a place that is not in it."""
        rows = self._feed.newest(self._principal, self.session_id)
        if last is None:
            old = [row for row in rows if row.status != GenerationStatus.RUNNING]
        else:
            at = self._feed.generation(self._principal, last.generation_id)
            if at is None or at.session_id != self.session_id:
                raise NotFound("There is no such generation in this session.", "generation_not_found")
            old = [row for row in rows if (row.created_at, row.id) <= (at.created_at, at.id)]
            self._resume = last
        self._known = {row.id for row in old}

    def __iter__(self) -> Iterator[Followed | None]:
        """Raises NotAuthenticated when the reader is signed out, NotFound when the session is deleted."""
        if self._resume is not None:
            yield self._followed(*self._resume)
        while not self._closed:
            self._news.clear()
            for generation_id in self._new_ones():
                yield self._followed(generation_id, 0)
            if not self._news.wait(self._feed.event_streams.heartbeat_s):
                yield None
            self._check()

    def wake(self) -> None:
        """Something may have begun."""
        self._news.set()

    def close(self) -> None:
        """Stop reading; it may come twice."""
        self._closed = True
        self._feed.leave(self)
        self.wake()

    def _new_ones(self) -> list[str]:
        try:
            rows = self._feed.newest(self._principal, self.session_id)
        except Unavailable:
            return []  # the next beat asks again
        new = [row.id for row in rows if row.id not in self._known]
        self._known = {row.id for row in rows}
        return new

    def _followed(self, generation_id: str, after: int) -> Followed:
        return Followed(generation_id, self._items(generation_id, after))

    def _items(self, generation_id: str, after: int) -> Iterator[Item]:
        """Lazily: a generation may be gone by the time it is read."""
        yield from one_by_one(self._feed.event_streams.follow(self._principal, generation_id, after))
