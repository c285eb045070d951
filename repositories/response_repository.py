"""Responses of an owner, and the chains that they make."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from models import GenerationEntity, MessageEntity, ResponseEntity


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """A response, and how it stands."""

    response: ResponseEntity
    generation: GenerationEntity
    message: MessageEntity


class ResponseRepository:
    """Queries on responses; every one has the owner in its WHERE."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, entity: ResponseEntity) -> None:
        """Store a new response, after its session."""
        self._session.add(entity)
        self._session.flush()

    def get(self, response_id: str, user_id: str) -> ResponseRow | None:
        """The response, if it is this user's."""
        return self._one(ResponseEntity.id == response_id, user_id)

    def of_generation(self, generation_id: str, user_id: str) -> ResponseRow | None:
        """The response that the generation makes."""
        return self._one(ResponseEntity.generation_id == generation_id, user_id)

    def chain(self, response_id: str, user_id: str, *, limit: int) -> Sequence[ResponseRow]:
        """The response with all that it goes on from, oldest first; its last ``limit`` where there are more."""
        link = sa.select(
            ResponseEntity.id, ResponseEntity.previous_response_id, sa.literal(1, sa.Integer()).label("depth")
        )
        links = link.where(ResponseEntity.id == response_id, ResponseEntity.user_id == user_id).cte(recursive=True)
        before = aliased(ResponseEntity)
        further = sa.select(before.id, before.previous_response_id, links.c.depth + 1)
        further = further.join(links, before.id == links.c.previous_response_id)
        links = links.union_all(further.where(before.user_id == user_id, links.c.depth < limit))
        query = self._joined(user_id).join(links, links.c.id == ResponseEntity.id).order_by(links.c.depth.desc())
        return [ResponseRow(one, of, says) for one, of, says in self._session.execute(query)]

    def is_continued(self, response_id: str, user_id: str) -> bool:
        """Whether another response goes on from it."""
        query = sa.select(ResponseEntity.id).where(
            ResponseEntity.user_id == user_id, ResponseEntity.previous_response_id == response_id
        )
        return self._session.scalar(query.limit(1)) is not None

    def _one(self, condition: sa.ColumnElement[bool], user_id: str) -> ResponseRow | None:
        query = self._joined(user_id).where(condition)
        row = self._session.execute(query, execution_options={"populate_existing": True}).first()
        return ResponseRow(row[0], row[1], row[2]) if row else None

    def _joined(self, user_id: str) -> sa.Select[ResponseEntity, GenerationEntity, MessageEntity]:
        return (
            sa.select(ResponseEntity, GenerationEntity, MessageEntity)
            .join(GenerationEntity, GenerationEntity.id == ResponseEntity.generation_id)
            .join(MessageEntity, MessageEntity.id == ResponseEntity.message_id)
            .where(ResponseEntity.user_id == user_id)
        )
