"""Generations as their user sees them: how they stand, what they cost, and the stop."""

import time
from dataclasses import dataclass
from typing import Literal

from domain.errors import InvalidInput, NotFound
from domain.generation import GenerationStatus
from domain.principal import Principal
from models import GenerationEntity
from repositories.event_log import EventLog
from repositories.generation_repository import SessionUsage
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.generation_runner import STOP_WAIT_S, GenerationRunner

StopState = Literal["stopped", "stopping", "already_finished"]

_LOOK_S = 0.05  # between two looks at a generation that another worker is to stop
_STATES: dict[GenerationStatus | None, StopState] = {
    GenerationStatus.RUNNING: "stopping",
    GenerationStatus.STOPPED: "stopped",
}


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop has achieved: ``stopped`` only once the upstream socket is closed and the text saved."""

    generation_id: str
    state: StopState


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A session's cost so far; ``last`` tells how full the model's window was at the last turn that was counted."""

    total: SessionUsage
    last: GenerationEntity | None


class GenerationService:
    """Looks at generations and stops them."""

    def __init__(self, unit_of_work: OpenUnitOfWork, runner: GenerationRunner, event_log: EventLog) -> None:
        self._unit_of_work = unit_of_work
        self._runner = runner
        self._event_log = event_log

    def get(self, principal: Principal, generation_id: str) -> GenerationEntity:
        """One generation."""
        with self._unit_of_work(writes=False) as uow:
            return _own(uow.generations.get(generation_id, principal.user_id))

    def newest(self, principal: Principal, session_id: str) -> GenerationEntity | None:
        """The newest generation of a session; None for a session without one. Raises NotFound for no such session."""
        with self._unit_of_work(writes=False) as uow:
            _check_session(uow, principal, session_id)
            return uow.generations.latest(session_id, principal.user_id)

    def stop(
        self,
        principal: Principal,
        *,
        generation_id: str | None = None,
        message_id: str | None = None,
        session_id: str | None = None,
    ) -> Stopped:
        """Stop one generation, named by itself, by its message, or by its session (the one that runs there)."""
        with self._unit_of_work(writes=False) as uow:
            row = _own(_named(uow, principal, generation_id, message_id, session_id))
        if row.status != GenerationStatus.RUNNING:
            return Stopped(row.id, "already_finished")
        status = self._runner.stop(row.id) or self._stop_elsewhere(principal, row.id)
        return Stopped(row.id, _STATES.get(status, "already_finished"))  # it may come to another end first

    def _stop_elsewhere(self, principal: Principal, generation_id: str) -> GenerationStatus | None:
        """Its owner is another worker: leave word, call out for it, and wait a little; how the generation stands then.

        None if it is gone. A dead owner hears nothing: the generation is reaped when its lease has run out.
        """
        with self._unit_of_work() as uow:
            running = uow.generations.request_stop(generation_id, principal.user_id)
            uow.commit()
        if running:
            self._event_log.request_stop(generation_id)
        give_up = time.monotonic() + STOP_WAIT_S
        while (status := self._status(principal, generation_id)) == GenerationStatus.RUNNING:
            if time.monotonic() > give_up:
                break
            time.sleep(_LOOK_S)
        return status

    def _status(self, principal: Principal, generation_id: str) -> GenerationStatus | None:
        with self._unit_of_work(writes=False) as uow:
            row = uow.generations.get(generation_id, principal.user_id)
            return GenerationStatus(row.status) if row else None

    def usage(self, principal: Principal, session_id: str) -> UsageReport:
        """What a session cost."""
        with self._unit_of_work(writes=False) as uow:
            _check_session(uow, principal, session_id)
            total = uow.generations.usage(session_id, principal.user_id)
            return UsageReport(total, uow.generations.latest(session_id, principal.user_id, counted=True))


def _named(
    uow: UnitOfWork,
    principal: Principal,
    generation_id: str | None,
    message_id: str | None,
    session_id: str | None,
) -> GenerationEntity | None:
    if generation_id:
        return uow.generations.get(generation_id, principal.user_id)
    if message_id:
        message = uow.messages.get(message_id, principal.user_id)
        return uow.generations.get((message and message.generation_id) or "", principal.user_id)
    if session_id:
        _check_session(uow, principal, session_id)
        return uow.generations.latest(session_id, principal.user_id)
    raise InvalidInput("Name a generation, a message or a session.", fields=("generation_id",))


def _check_session(uow: UnitOfWork, principal: Principal, session_id: str) -> None:
    if uow.sessions.get(session_id, principal.user_id) is None:
        raise NotFound("There is no such session.", "session_not_found")


def _own(row: GenerationEntity | None) -> GenerationEntity:
    if row is None:
        raise NotFound("There is no such generation.", "generation_not_found")
    return row
