"""Where a turn goes in its session, and the rows that it begins with."""

from dataclasses import dataclass
from typing import Self

from domain.api_keys import KeyGrant
from domain.clock import now
from domain.generation import GenerationStatus
from domain.identifiers import new_id
from domain.ledger import Booking
from domain.messages import MessageRole, Part
from domain.principal import Principal
from models import SessionEntity
from repositories.turn_repository import NewGeneration, NewMessage, TurnSession
from services.answer import columns_of
from services.model_choice import ModelChoice


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn goes in its session: ``position`` of its first new message, which follows ``parent_id``.

    ``new`` is the session's row, if that is to be stored with the turn.
    """

    session: TurnSession
    parent_id: str | None
    position: int
    rewinds: bool = False  # what the provider itself remembers of the session goes further than this
    answers_parent: bool = False  # the question is there already
    new: SessionEntity | None = None

    @classmethod
    def in_new(cls, session: SessionEntity) -> Self:
        """The first of a new session."""
        return cls(TurnSession.of(session), None, 0, new=session)

    @property
    def context_start(self) -> int:
        """Position of the prompt's first message. A turn before a cleared context takes the clearing back to itself."""
        return min(self.session.context_start, self.position - self.answers_parent)


def user_message_at(principal: Principal, place: Place, parts: list[Part]) -> NewMessage:
    """The row of the user's message."""
    return NewMessage(
        id=new_id("msg"),
        session_id=place.session.id,
        user_id=principal.user_id,
        parent_id=place.parent_id,
        position=place.position,
        role=MessageRole.USER,
        status=GenerationStatus.COMPLETED,
        created_at=now(),
        **columns_of(parts),
    )


def answer_at(principal: Principal, place: Place, choice: ModelChoice, question: NewMessage | None) -> NewMessage:
    """The row of the answer that is about to begin; to ``question``, or to the message that is there already."""
    return NewMessage(
        id=new_id("msg"),
        session_id=place.session.id,
        user_id=principal.user_id,
        parent_id=question.id if question else place.parent_id,
        position=place.position + (1 if question else 0),
        role=MessageRole.ASSISTANT,
        status=GenerationStatus.RUNNING,
        provider=choice.provider,
        model=choice.model.name,
        generation_id=new_id("gen"),
        created_at=now(),
        **columns_of([]),
    )


def generation_of(answer: NewMessage, choice: ModelChoice, owner: str) -> NewGeneration:
    """The row of the generation that makes ``answer``, which ``owner`` runs."""
    return NewGeneration(
        id=answer.generation_id or "",
        session_id=answer.session_id,
        user_id=answer.user_id,
        message_id=answer.id,
        owner=owner,
        epoch=1,
        provider=choice.provider,
        model=choice.model.name,
        context_limit=choice.model.context_window,
        created_at=answer.created_at,
    )


def booking_of(generation: NewGeneration, key: KeyGrant | None, public_model: str) -> Booking:
    """What the ledger keeps of a generation that was asked for with ``key``."""
    return Booking(
        user_id=generation.user_id,
        generation_id=generation.id,
        public_model=public_model,
        key_id=key.id if key else None,
        key_budgeted=key.budgeted if key else False,
        session_id=generation.session_id,
    )
