"""Reading what generations say: from any point of the log on, as often as one likes."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, repeat

from domain import events
from domain.errors import NotFound, Unavailable
from domain.generation import GenerationStatus
from domain.principal import Principal
from models import GenerationEntity
from repositories.event_log import EventLog
from repositories.unit_of_work import OpenUnitOfWork
from services.message_view import message_view
from services.reader_check import RECHECK_S, ReaderCheck

Numbered = tuple[int, bytes]  # sequence number and encoded event
News = Sequence[Numbered]  # events that are there together; none: a heartbeat
Item = Numbered | None  # the same, one by one

_POLL_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_LAST_WORD_S = 2.0  # between the end in the database and that in the log
_NONE = 1 << 40  # past the end of every log


def one_by_one(stream: Iterable[News]) -> Iterator[Item]:
    """Events by themselves, and None for a heartbeat."""
    for news in stream:
        if news:
            yield from news
        else:
            yield None


class EventStreamService:
    """Tails event logs, and stands in for logs that are gone with what the database holds.

    ``recheck`` raises NotAuthenticated for a reader who was signed out. A heartbeat comes every 15 s or more often.
    """

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        event_log: EventLog,
        recheck: Callable[[Principal], None],
        heartbeat_s: float,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._event_log = event_log
        self._recheck = recheck
        self.heartbeat_s = min(heartbeat_s, RECHECK_S)

    def check_of(self, principal: Principal) -> ReaderCheck:
        """What a reader's stream calls between two items."""
        return ReaderCheck(self._recheck, principal, self.heartbeat_s)

    def follow(self, principal: Principal, generation_id: str, after: int) -> Iterator[News]:
        """The events after ``after`` up to the last one; a heartbeat every ``heartbeat_s`` in which nothing came.

        Raises NotFound (at once) for a generation that is not this user's, and NotAuthenticated (later) once the reader
        is signed out.
        """
        with self._unit_of_work(writes=False) as uow:
            row = uow.generations.get(generation_id, principal.user_id)
        if row is None:
            raise NotFound("There is no such generation.", "generation_not_found")
        return self._checked(principal, self._news(principal, row, after))

    def tail(self, principal: Principal, generation_id: str) -> Iterator[News]:
        """The same for a generation that this very request has begun: it runs here, and its owner is known.

        It is as long as the answer, so a sign-in that ends lets it go on; a key may have been revoked since it leaked.
        """
        stream = self._tail(generation_id)
        return stream if principal.key is None else self._checked(principal, stream)

    def _tail(self, generation_id: str, after: int = 0) -> Iterator[News]:
        while True:
            batch = self._event_log.read(generation_id, after, self.heartbeat_s)
            if batch is None:
                return
            if batch.events or not batch.ended:
                yield batch.events
            if batch.ended:
                return
            after += len(batch.events)

    def _checked(self, principal: Principal, stream: Iterator[News]) -> Iterator[News]:
        check = self.check_of(principal)
        for news in stream:
            yield news
            check()

    def _news(self, principal: Principal, row: GenerationEntity, after: int) -> Iterator[News]:
        """From the log as long as it can be read here, else from the database: back and forth, if need be."""
        place: int | None = after
        while place is not None:
            place = yield from self._from_log(principal, row, place)
            if place is not None:
                place = yield from self._without_log(principal, row, place)

    def _from_log(self, principal: Principal, row: GenerationEntity, after: int) -> Generator[News, None, int | None]:
        """Up to the end, and then None; or as far as the log can be read, and then that place."""
        while (batch := self._event_log.read(row.id, after, self.heartbeat_s)) is not None:
            if batch.events or not batch.ended:
                yield batch.events
            after += len(batch.events)
            if batch.ended:
                return None
            if batch.events:
                continue
            if self._has_ended(principal, row):  # and nobody was left to say so in the log?
                batch = self._event_log.read(row.id, after, _LAST_WORD_S)
                if batch is not None and not batch.events and not batch.ended:
                    yield from self._ending(principal, row, after)
                    return None
        return after

    def _without_log(
        self, principal: Principal, row: GenerationEntity, after: int
    ) -> Generator[News, None, int | None]:
        """The log is not here (any more): once the generation has ended, its whole text at once, and then None.

        If the log turns up before, the place from which to read it.
        """
        if after < 1:
            after = 1
            start = events.Start(row.message_id, row.id, row.session_id, row.provider, row.model)
            yield [(1, events.encode(start))]
        quiet_since = time.monotonic()
        pauses = chain(_POLL_S, repeat(_POLL_S[-1]))
        while not self._has_ended(principal, row):
            time.sleep(next(pauses))
            if self._is_here(row.id):  # it was asked for in the moment before it began, or could not be reached
                return after
            if time.monotonic() - quiet_since >= self.heartbeat_s:
                quiet_since = time.monotonic()
                yield ()
        yield from self._ending(principal, row, after)
        return None

    def _has_ended(self, principal: Principal, row: GenerationEntity) -> bool:
        """As far as the database can say."""
        try:
            found = self._again(principal, row)
        except Unavailable:
            return False
        return found is None or found.status != GenerationStatus.RUNNING

    def _again(self, principal: Principal, row: GenerationEntity) -> GenerationEntity | None:
        with self._unit_of_work(writes=False) as uow:
            return uow.generations.get(row.id, principal.user_id)

    def _ending(self, principal: Principal, row: GenerationEntity, after: int) -> Iterator[News]:
        found = self._again(principal, row)
        if found is None:
            yield [(after + 1, events.encode(events.LOST))]
            return
        last = found.last_seq or events.LAST_OF_DEAD  # of one that an older version has ended
        if after >= last:
            return
        with self._unit_of_work(writes=False) as uow:
            message = uow.messages.get(found.message_id, principal.user_id)
        if message is None:
            return
        complete = (last, events.encode(events.Complete(message=message_view(message))))
        text = [(last - 1, events.encode(events.Replace(content=message.text)))] if after < last - 1 else []
        yield [*text, complete]

    def _is_here(self, generation_id: str) -> bool:
        return self._event_log.read(generation_id, _NONE, 0) is not None
