"""Ends what workers that died have left."""

import time
from collections.abc import Sequence

import structlog

from domain import events
from domain.clock import now
from domain.generation import EndReason, GenerationStatus
from domain.messages import Part, Reasoning, Text, parts_from
from domain.observer import NOBODY, Observer
from models import GenerationEntity
from repositories.event_log import EventLog
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.answer import columns_of
from services.generation_ends import reaped
from services.ledger import Ledger
from services.replay import replay

log = structlog.get_logger()

_AT_ONCE = 50
_SPELL_S = 4.0  # then the keeper's other duties have their turn
_END = {"status": GenerationStatus.INTERRUPTED, "end_reason": EndReason.NODE_LOST}


class Reaper:
    """Interrupts generations whose lease has run out, with all of their text that is to be had.

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
                left = uow.generations.abandoned(limit=_AT_ONCE)
            count += sum(self._end(entity) for entity in left)
            if len(left) < _AT_ONCE:
                break
        return count

    def _end(self, entity: GenerationEntity) -> bool:
        if not self._save(entity, replay(self._event_log.replay(entity.id))):
            return False
        self._event_log.cut(entity.id, entity.epoch)
        log.warning("generation_reaped", generation_id=entity.id, owner=entity.owner)
        self._observer.generation_ended(reaped(entity))
        return True

    def _save(self, entity: GenerationEntity, told: list[Part]) -> bool:
        """Keep the longer of what was saved and what was ``told``; false if it has come to another end."""
        with self._unit_of_work() as uow:
            uow.sessions.update(entity.session_id, entity.user_id, updated_at=now())
            ended = {**_END, "finished_at": now(), "last_seq": events.LAST_OF_DEAD}
            won = uow.generations.finish(entity.id, epoch=entity.epoch, values=ended)
            if won:
                parts = max(_saved(uow, entity), told, key=_length)
                uow.messages.write(entity.message_id, entity.user_id, **_END, **columns_of(parts))
                self._ledger.settle_abandoned(uow, entity, _written(parts))
                uow.commit()
        return won


def _saved(uow: UnitOfWork, entity: GenerationEntity) -> list[Part]:
    message = uow.messages.get(entity.message_id, entity.user_id)
    return parts_from(message.parts) if message else []


def _written(parts: Sequence[Part]) -> str:
    """All that the model wrote."""
    return "".join(part.text for part in parts if isinstance(part, Reasoning | Text))


def _length(parts: Sequence[Part]) -> int:
    return len(_written(parts)) + len(parts)
