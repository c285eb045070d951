"""Responses: answers that a client may ask for again, watch from anywhere, stop, and go on from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.chat import ChatRequest
from domain.errors import InvalidInput, NotFound
from domain.generation import GenerationStatus
from domain.identifiers import new_id
from domain.messages import Message
from domain.principal import Principal
from domain.sessions import SessionKind
from models import ResponseEntity
from repositories.response_repository import ResponseRow
from repositories.turn_repository import NewGeneration
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.event_stream_service import EventStreamService, Item, one_by_one
from services.generation_service import GenerationService
from services.hidden_turns import HiddenTurn, HiddenTurns
from services.idempotency import Begun, Claim, Idempotency
from services.message_view import message_view

_LONGEST_CHAIN = 500  # responses


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it stands. ``request`` is what was asked, in the client's protocol; ``message`` is the answer."""

    id: str
    request: Mapping[str, Any]
    background: bool
    previous_response_id: str | None
    created_at: datetime
    generation_id: str
    message: Message
    error_message: str | None = None
    finished_at: datetime | None = None

    @classmethod
    def of(cls, row: ResponseRow) -> "StoredResponse":
        """The value for its rows."""
        response, generation = row.response, row.generation
        return cls(
            id=response.id,
            request=response.request,
            background=response.background,
            previous_response_id=response.previous_response_id,
            created_at=response.created_at,
            generation_id=generation.id,
            message=message_view(row.message),
            error_message=generation.error_message,
            finished_at=generation.finished_at,
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """A response that is to be made. ``request`` is what is kept of it, ``asked`` what goes to the public ``model``.

    ``resumes``: what the provider itself remembers of the response before may be gone on from.
    """

    id: str
    model: str
    asked: ChatRequest
    request: Mapping[str, Any]
    background: bool = False
    previous_response_id: str | None = None
    resumes: bool = False


def new_response_id() -> str:
    """An id for a response; its items' ids are made from it."""
    return new_id("resp")


class ResponseService:
    """What a user does with their own responses. Another user's response is as good as none: NotFound."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        turns: HiddenTurns,
        generations: GenerationService,
        event_streams: EventStreamService,
        idempotency: Idempotency,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._turns = turns
        self._generations = generations
        self._event_streams = event_streams
        self._idempotency = idempotency

    def create(self, principal: Principal, wish: Wish, claim: Claim | None = None) -> tuple[Begun, StoredResponse]:
        """Store a response and begin to make it; with a ``claim`` once, whoever asks again gets the same.

        Raises as :meth:`HiddenTurns.begin` does.
        """
        state_of, state = self._upstream_state(principal, wish)

        def store(uow: UnitOfWork, generation: NewGeneration) -> None:
            uow.responses.add(_entity(principal, wish, generation))

        asked = replace(wish.asked, upstream_state=state)
        turn = HiddenTurn(SessionKind.RESPONSE, wish.model, asked, state_of, store)
        begun = self._idempotency.once(principal, claim, lambda: self._turns.begin(principal, turn, claim))
        return begun, self._of_generation(principal, begun.generation_id)

    def get(self, principal: Principal, response_id: str) -> StoredResponse:
        """One response, as it stands."""
        with self._unit_of_work(writes=False) as uow:
            row = uow.responses.get(response_id, principal.user_id)
        if row is None:
            raise NotFound(f"There is no response {response_id}.", "response_not_found")
        return StoredResponse.of(row)

    def chain(self, principal: Principal, response_id: str | None) -> Sequence[StoredResponse]:
        """A response that another one is to go on from, after all those that it goes on from itself.

        Raises InvalidInput: ``previous_response_not_found``, also where one of them was deleted: what the model is not
        told any more is not left out in silence; ``previous_response_not_ready`` while it is being made.
        """
        if response_id is None:
            return ()
        with self._unit_of_work(writes=False) as uow:
            rows = uow.responses.chain(response_id, principal.user_id, limit=_LONGEST_CHAIN)
        chain = [StoredResponse.of(row) for row in rows]
        if not chain or chain[0].previous_response_id is not None:
            raise _unusable(f"There is no response {response_id}, or one that it goes on from is gone.", "not_found")
        if any(one.message.status is GenerationStatus.RUNNING for one in chain):
            raise _unusable(f"The response {response_id} is still being made.", "not_ready")
        return chain

    def delete(self, principal: Principal, response_id: str) -> None:
        """Delete a response; if it is still being made, that is stopped."""
        response = self.get(principal, response_id)
        self._turns.remove(principal, response.message.session_id, SessionKind.RESPONSE)

    def cancel(self, principal: Principal, response_id: str) -> StoredResponse:
        """Stop a response, and wait a little; how it stands then. One that has ended stays as it is."""
        response = self.get(principal, response_id)
        self._generations.stop(principal, generation_id=response.generation_id)
        return self.get(principal, response_id)

    def events(self, principal: Principal, begun: Begun) -> Iterator[Item]:
        """The events of a response that was just asked for, from the first one on."""
        return one_by_one(self._idempotency.events(principal, begun))

    def follow(self, principal: Principal, response: StoredResponse) -> Iterator[Item]:
        """The events of a response's generation, from the first one on; see :class:`EventStreamService`."""
        return one_by_one(self._event_streams.follow(principal, response.generation_id, 0))

    def answer(self, principal: Principal, begun: Begun) -> StoredResponse:
        """Wait for the answer. Raises the provider's error if it failed; the response is there all the same."""
        live = begun.live
        if live is None:
            self._idempotency.answer(principal, begun)
        else:
            live.finished.wait()
            if live.unsaved is not None:
                raise live.unsaved
            if live.error is not None and live.message and live.message.status is GenerationStatus.FAILED:
                raise live.error
        return self._of_generation(principal, begun.generation_id)

    def _of_generation(self, principal: Principal, generation_id: str) -> StoredResponse:
        with self._unit_of_work(writes=False) as uow:
            row = uow.responses.of_generation(generation_id, principal.user_id)
        if row is None:
            raise NotFound("The response was deleted.", "response_not_found")
        return StoredResponse.of(row)

    def _upstream_state(self, principal: Principal, wish: Wish) -> tuple[str | None, str]:
        """The provider that remembers the response before, and what it calls it. Only one response can go on there."""
        if wish.previous_response_id is None or not wish.resumes:
            return None, ""
        with self._unit_of_work(writes=False) as uow:
            row = uow.responses.get(wish.previous_response_id, principal.user_id)
            if row is None or uow.responses.is_continued(row.response.id, principal.user_id):
                return None, ""
            session = uow.sessions.get(row.response.session_id, principal.user_id, kind=SessionKind.RESPONSE)
        return (session.upstream_provider, session.upstream_state or "") if session else (None, "")


def _entity(principal: Principal, wish: Wish, generation: NewGeneration) -> ResponseEntity:
    return ResponseEntity(
        id=wish.id,
        session_id=generation.session_id,
        user_id=principal.user_id,
        key_id=principal.key.id if principal.key else None,
        generation_id=generation.id,
        message_id=generation.message_id,
        previous_response_id=wish.previous_response_id,
        request=dict(wish.request),
        background=wish.background,
        created_at=generation.created_at,
    )


def _unusable(message: str, reason: str) -> InvalidInput:
    return InvalidInput(message, f"previous_response_{reason}", ("previous_response_id",))
