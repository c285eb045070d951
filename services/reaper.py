"""Ends what workers that died have left."""

import time
from collections.abc import Sequence

import structlog

from domain import events
from domain.clock import now
from domain.generation import EndReason, GenerationStatus
from domain.messages import Part, Reasoning, Text, parts_from, text_of
from domain.observer import NOBODY, Observer
from models import GenerationEntity
from repositories.event_log import EventLog
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.answer import columns_of
from services.generation_ends import reaped
from services.ledger import Ledger
from services.message_view import message_view
from services.replay import Replay, replay

log = structlog.get_logger()

_AT_ONCE = 50
_SPELL_S = 4.0  # then the keeper's other duties have their turn
_END = {"status": GenerationStatus.INTERRUPTED, "end_reason": EndReason.NODE_LOST}


class Reaper:
    """Interrupts generations whose lease has run out, with all of their text that is to be had, and tells readers.

    Each worker has one. Of several that find the same generation, one ends it; the others leave no trace.
    """

    def __init__(
        self, unit_of_work: OpenUnitOfWork, event_log: EventLog, ledger: Ledger, observer: Observer = NOBODY
    ) -> None:
        self._unit_of_work = unit_of_work
        self._event_log = event_log
        self._ledger = ledger
        self._observer = observer

    def reap(self) -> int:
        """End those that are left, for some seconds at most; the number of them."""
        count, give_up = 0, time.monotonic() + _SPELL_S
        while time.monotonic() < give_up:
            with self._unit_of_work(writes=False) as uow:
                left = uow.generations.abandoned(now(), limit=_AT_ONCE)
            count += sum(self._end(entity) for entity in left)
            if len(left) < _AT_ONCE:
                break
        return count

    def _end(self, entity: GenerationEntity) -> bool:
        told = replay(self._event_log.replay(entity.id))
        parts = self._save(entity, told)
        if parts is None:
            return False
        log.warning("generation_reaped", generation_id=entity.id, owner=entity.owner)
        self._observer.generation_ended(reaped(entity))
        if told.events:
            self._tell(entity, told, parts)
        return True

    def _save(self, entity: GenerationEntity, told: Replay) -> list[Part] | None:
        """The parts that are kept: the longer of what was saved and what was told. None if it has ended otherwise."""
        with self._unit_of_work() as uow:
            uow.sessions.update(entity.session_id, entity.user_id, updated_at=now())
            parts = max(_saved(uow, entity), told.parts, key=_length)
            last_seq = told.events + len(_ending(told, parts)) + 1 if told.events else None
            ended = {**_END, "finished_at": now(), "last_seq": last_seq}
            if not uow.generations.finish(entity.id, epoch=entity.epoch, values=ended):
                return None
            uow.messages.write(entity.message_id, entity.user_id, **_END, **columns_of(parts))
            self._ledger.settle_abandoned(uow, entity, _written(parts))
            uow.commit()
        return parts

    def _tell(self, entity: GenerationEntity, told: Replay, parts: Sequence[Part]) -> None:
        """The last events for readers on all nodes, in the dead worker's place."""
        with self._unit_of_work(writes=False) as uow:
            row = uow.messages.get(entity.message_id, entity.user_id)
        if row is None:
            return
        ending = [*_ending(told, parts), events.Complete(message=message_view(row))]
        encoded, replace = [events.encode(event) for event in ending], events.encode(_replacement(parts))
        self._event_log.end(entity.id, entity.epoch, encoded, seen=told.events, replace=replace)


def _ending(told: Replay, parts: Sequence[Part]) -> list[events.Event]:
    """What is to be told besides the message."""
    ending: list[events.Event] = [] if list(parts) == told.parts else [_replacement(parts)]
    return ending if told.is_closed else [*ending, events.Stop(reason=EndReason.NODE_LOST), events.End()]


def _saved(uow: UnitOfWork, entity: GenerationEntity) -> list[Part]:
    message = uow.messages.get(entity.message_id, entity.user_id)
    return parts_from(message.parts) if message else []


def _written(parts: Sequence[Part]) -> str:
    """All that the model wrote."""
    return "".join(part.text for part in parts if isinstance(part, Reasoning | Text))


def _length(parts: Sequence[Part]) -> int:
    return len(_written(parts)) + len(parts)


def _replacement(parts: Sequence[Part]) -> events.Replace:
    reasoning = "".join(part.text for part in parts if isinstance(part, Reasoning))
    return events.Replace(content=text_of(parts), reasoning=reasoning or None)
