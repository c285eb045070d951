"""Reading what generations say: from any point of the log on, as often as one likes."""

import time
from collections.abc import Iterator

from domain import events
from domain.errors import NotFound, Unavailable
from domain.generation import GenerationStatus
from domain.principal import Principal
from models import GenerationEntity
from repositories.event_log import EventLog
from repositories.unit_of_work import OpenUnitOfWork
from services.message_view import message_view

Item = tuple[int, bytes] | None  # (sequence number, encoded event), or None for a heartbeat

_POLL_S = 1.0
_NONE = 1 << 40  # past the end of every log


class EventStreamService:
    """Tails event logs, and stands in for logs that are gone with what the database holds."""

    def __init__(self, unit_of_work: OpenUnitOfWork, event_log: EventLog, heartbeat_s: float) -> None:
        self._unit_of_work = unit_of_work
        self._event_log = event_log
        self._heartbeat_s = heartbeat_s

    def follow(self, principal: Principal, generation_id: str, after: int) -> Iterator[Item]:
        """The events after ``after`` up to the last one; None every ``heartbeat_s`` in which nothing came.

        Raises NotFound (before the first item) for a generation that is not this user's.
        """
        row = self._own(principal, generation_id)
        if self._is_here(generation_id):
            return self.tail(generation_id, after)
        return self._snapshot(principal, row, after)

    def tail(self, generation_id: str, after: int = 0) -> Iterator[Item]:
        """The same for a generation that this very request has begun: it runs here, and its owner is known."""
        while True:
            batch = self._event_log.read(generation_id, after, self._heartbeat_s)
            if batch is None:
                return
            yield from batch.events
            if batch.ended:
                return
            if not batch.events:
                yield None
            after += len(batch.events)

    def _snapshot(self, principal: Principal, row: GenerationEntity, after: int) -> Iterator[Item]:
        """The log is not here (any more): once the generation has ended, its whole text at once."""
        if after < 1:
            after = 1
            yield 1, events.encode(events.Start(row.message_id, row.id, row.session_id, row.provider, row.model))
        quiet_since = time.monotonic()
        found: GenerationEntity | None = row
        while found is not None and found.status == GenerationStatus.RUNNING:
            time.sleep(_POLL_S)
            if self._is_here(row.id):  # it was asked for in the moment before it began
                yield from self.tail(row.id, after)
                return
            if time.monotonic() - quiet_since >= self._heartbeat_s:
                quiet_since = time.monotonic()
                yield None
            found = self._again(principal, found)
        if found is None:
            yield after + 1, events.encode(events.LOST)
        else:
            yield from self._ending(principal, found, after)

    def _again(self, principal: Principal, row: GenerationEntity) -> GenerationEntity | None:
        """The generation as it stands now, as far as the database can say; None once it is gone."""
        try:
            with self._unit_of_work(writes=False) as uow:
                return uow.generations.get(row.id, principal.user_id)
        except Unavailable:
            return row

    def _ending(self, principal: Principal, row: GenerationEntity, after: int) -> Iterator[Item]:
        last = row.last_seq or after + 2  # nobody counted the events of a worker that died
        if after >= last:
            return
        with self._unit_of_work(writes=False) as uow:
            message = uow.messages.get(row.message_id, principal.user_id)
        if message is None:
            return
        if after < last - 1:
            yield last - 1, events.encode(events.Replace(content=message.text))
        yield last, events.encode(events.Complete(message=message_view(message)))

    def _is_here(self, generation_id: str) -> bool:
        return self._event_log.read(generation_id, _NONE, 0) is not None

    def _own(self, principal: Principal, generation_id: str) -> GenerationEntity:
        with self._unit_of_work(writes=False) as uow:
            row = uow.generations.get(generation_id, principal.user_id)
        if row is None:
            raise NotFound("There is no such generation.", "generation_not_found")
        return row
