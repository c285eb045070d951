"""Reading what generations say: from any point of the log on, as often as one likes."""

import time
from collections.abc import Iterator

from domain import events
from domain.errors import NotFound
from domain.generation import GenerationStatus
from domain.principal import Principal
from models import GenerationEntity
from repositories.event_log import EventLog
from repositories.unit_of_work import OpenUnitOfWork
from services.message_view import message_view

Item = tuple[int, bytes] | None  # (sequence number, encoded event), or None for a heartbeat

_POLL_S = 1.0


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
        self._own(principal, generation_id)
        return self._items(principal, generation_id, after)

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

    def _items(self, principal: Principal, generation_id: str, after: int) -> Iterator[Item]:
        if self._event_log.read(generation_id, 0, 0) is not None:
            yield from self.tail(generation_id, after)
        else:
            yield from self._snapshot(principal, generation_id, after)

    def _snapshot(self, principal: Principal, generation_id: str, after: int) -> Iterator[Item]:
        """The log is not here (any more): once the generation has ended, its whole text at once."""
        row = self._own(principal, generation_id)
        if after < 1:
            yield 1, events.encode(events.Start(row.message_id, row.id, row.session_id, row.provider, row.model))
        quiet_since = time.monotonic()
        while (row := self._own(principal, generation_id)).status == GenerationStatus.RUNNING:
            if time.monotonic() - quiet_since >= self._heartbeat_s:
                quiet_since = time.monotonic()
                yield None
            time.sleep(_POLL_S)
        last_seq = max(row.last_seq or 0, 3)
        if after >= last_seq:
            return
        with self._unit_of_work(writes=False) as uow:
            message = uow.messages.get(row.message_id, principal.user_id)
        if message is None:
            return
        yield last_seq - 1, events.encode(events.Replace(content=message.text))
        yield last_seq, events.encode(events.Complete(message=message_view(message)))

    def _own(self, principal: Principal, generation_id: str) -> GenerationEntity:
        with self._unit_of_work(writes=False) as uow:
            row = uow.generations.get(generation_id, principal.user_id)
        if row is None:
            raise NotFound("There is no such generation.", "generation_not_found")
        return row
