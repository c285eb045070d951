"""Where a turn goes in its session, and the rows that it begins with."""

from dataclasses import dataclass

from domain.api_keys import KeyGrant
from domain.clock import now
from domain.generation import GenerationStatus
from domain.identifiers import new_id
from domain.ledger import Booking
from domain.messages import MessageRole, Part
from domain.principal import Principal
from models import GenerationEntity, MessageEntity, SessionEntity
from services.answer import columns_of
from services.model_choice import ModelChoice


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn goes in its session: ``position`` of its first new message, which follows ``parent_id``."""

    session: SessionEntity
    parent_id: str | None
    position: int
    is_new: bool = False
    rewinds: bool = False  # what the provider itself remembers of the session goes further than this
    answers_parent: bool = False  # the question is there already

    @property
    def context_start(self) -> int:
        """Position of the prompt's first message. A turn before a cleared context takes the clearing back to itself."""
        return min(self.session.context_start, self.position - self.answers_parent)


def user_message_at(principal: Principal, place: Place, parts: list[Part]) -> MessageEntity:
    """The row of the user's message."""
    return MessageEntity(
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


def answer_at(principal: Principal, place: Place, choice: ModelChoice, question: MessageEntity | None) -> MessageEntity:
    """The row of the answer that is about to begin; to ``question``, or to the message that is there already."""
    return MessageEntity(
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


def generation_of(answer: MessageEntity, choice: ModelChoice, owner: str) -> GenerationEntity:
    """The row of the generation that makes ``answer``, which ``owner`` runs."""
    return GenerationEntity(
        id=answer.generation_id,
        session_id=answer.session_id,
        user_id=answer.user_id,
        message_id=answer.id,
        owner=owner,
        epoch=1,
        stop_requested=False,
        status=GenerationStatus.RUNNING,
        provider=choice.provider,
        model=choice.model.name,
        context_limit=choice.model.context_window,
        created_at=answer.created_at,
    )


def booking_of(generation: GenerationEntity, key: KeyGrant | None, public_model: str) -> Booking:
    """What the ledger keeps of a generation that was asked for with ``key``."""
    return Booking(
        user_id=generation.user_id,
        generation_id=generation.id,
        public_model=public_model,
        key_id=key.id if key else None,
        key_budgeted=key.budgeted if key else False,
        session_id=generation.session_id,
    )
