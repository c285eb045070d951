"""Requests that count once: a turn that is asked for again under the same key is not begun again."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from domain.clock import now
from domain.errors import AppError, Conflict, InvalidInput, Unavailable, saved_failure
from domain.generation import GenerationStatus
from domain.messages import Message
from domain.principal import Principal
from domain.sessions import SessionKind
from models import ClaimEntity, GenerationEntity, MessageEntity
from repositories.turn_repository import NewGeneration
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.event_stream_service import EventStreamService, News
from services.generation_runner import Live
from services.message_view import message_view

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Claim:
    """A client's wish that a request counts once. Both are SHA-256: of whose key it is, and of what is asked for."""

    key_hash: str
    request_hash: str

    @classmethod
    def of(cls, principal: Principal, route: str, key: str, request: str) -> Self:
        """The claim of ``key``, which counts for this user and this route alone, for a request in canonical form."""
        return cls(_sha256("\0".join((principal.user_id, route, key))), _sha256(request))

    def entity(self, generation: NewGeneration) -> ClaimEntity:
        """The row that keeps it."""
        return ClaimEntity(
            key_hash=self.key_hash,
            user_id=generation.user_id,
            request_hash=self.request_hash,
            session_id=generation.session_id,
            message_id=generation.message_id,
            generation_id=generation.id,
            expires_at=generation.created_at + KEPT,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """The turn of a request: begun by it (``live``), or by an earlier one with the same key."""

    session_id: str
    message_id: str
    generation_id: str
    live: Live | None = None

    @classmethod
    def by(cls, live: Live) -> Self:
        """One that this request has begun."""
        return cls(live.turn.session_id, live.turn.message_id, live.turn.generation_id, live)


@dataclass(frozen=True, slots=True)
class Beginning:
    """When a turn began, in Unix seconds, and how many tokens its prompt has, as far as that is known."""

    created: int
    prompt_tokens: int


class Idempotency:
    """Finds the turn of an earlier request, and gives its answer again."""

    def __init__(self, unit_of_work: OpenUnitOfWork, event_streams: EventStreamService) -> None:
        self._unit_of_work = unit_of_work
        self._event_streams = event_streams

    def once(self, principal: Principal, claim: Claim | None, begin: Callable[[], Live]) -> Begun:
        """The claimed turn if there is one, else ``begin()``, which stores the claim together with its turn.

        What is refused before its turn is stored leaves no claim: the next try is a new one. Raises InvalidInput
        ``idempotency_key_reused`` if the key has stood for another request.
        """
        if claim is None:
            return Begun.by(begin())
        if earlier := self._earlier(principal, claim):
            return earlier
        try:
            return Begun.by(begin())
        except AppError:
            # A twin that was faster has the place that this one wanted, whichever refusal that led to.
            if earlier := self._earlier(principal, claim):
                return earlier
            raise

    def events(self, principal: Principal, begun: Begun) -> Iterator[News]:
        """The events of the turn's generation, from the first one on. Raises Conflict if its session is gone."""
        if begun.live is not None:
            return self._event_streams.tail(principal, begun.generation_id)
        with self._unit_of_work(writes=False) as uow:
            _rows(uow, principal, begun)
        return self._event_streams.follow(principal, begun.generation_id, 0)

    def beginning(self, principal: Principal, begun: Begun) -> Beginning:
        """How the turn began. Raises Conflict if its session is gone."""
        if begun.live is not None:
            return Beginning(int(begun.live.began_at), begun.live.turn.hold.entry.prompt_tokens or 0)
        with self._unit_of_work(writes=False) as uow:
            generation, _ = _rows(uow, principal, begun)
        return Beginning(int(generation.created_at.timestamp()), generation.prompt_tokens or 0)

    def answer(self, principal: Principal, begun: Begun) -> Message:
        """Wait for the answer of a turn that an earlier request has begun, on any node. Fails as that one did."""
        for _ in self.events(principal, begun):
            pass
        with self._unit_of_work(writes=False) as uow:
            generation, row = _rows(uow, principal, begun)
            siblings = uow.messages.siblings(row.session_id, principal.user_id, {row.parent_id})
        match generation.status:
            case GenerationStatus.FAILED:
                raise saved_failure(generation.error_code or "", generation.error_message or "The provider failed.")
            case GenerationStatus.RUNNING:
                raise Unavailable("The answer could not be saved yet.", "answer_not_saved")
        return message_view(row, siblings.get(row.parent_id))

    def purge(self) -> None:
        """Forget claims that have expired, and answers that are kept for them alone."""
        while self._purge_some():
            pass

    def _purge_some(self) -> bool:
        with self._unit_of_work() as uow:
            more = uow.claims.purge(now())
            more = uow.sessions.purge(SessionKind.COMPLETION, now() - KEPT) or more
            uow.commit()
        return more

    def _earlier(self, principal: Principal, claim: Claim) -> Begun | None:
        with self._unit_of_work(writes=False) as uow:
            found = uow.claims.get(claim.key_hash, principal.user_id, now())
        if found is None:
            return None
        if found.request_hash != claim.request_hash:
            raise InvalidInput(
                "This idempotency key has stood for another request.", "idempotency_key_reused", ("Idempotency-Key",)
            )
        return Begun(found.session_id, found.message_id, found.generation_id)


def _rows(uow: UnitOfWork, principal: Principal, begun: Begun) -> tuple[GenerationEntity, MessageEntity]:
    generation = uow.generations.get(begun.generation_id, principal.user_id)
    message = uow.messages.get(begun.message_id, principal.user_id)
    if generation is None or message is None:
        raise Conflict("The session of this answer was deleted.", "session_deleted")
    return generation, message


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
