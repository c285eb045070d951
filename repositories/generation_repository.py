"""Generations: created once, finished once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.generation import GenerationStatus
from models import GenerationEntity
from repositories.database_time import DatabaseTime

_RUNNING = GenerationEntity.status == GenerationStatus.RUNNING


@dataclass(frozen=True, slots=True)
class SessionUsage:
    """What the generations of a session cost, in tokens."""

    generations: int
    prompt_tokens: int
    completion_tokens: int


class GenerationRepository:
    """Queries on generations. Those for a user have the owner in their WHERE; the others serve the worker itself."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, generation_id: str, user_id: str) -> GenerationEntity | None:
        """The generation, if it is this user's."""
        query = sa.select(GenerationEntity).where(
            GenerationEntity.id == generation_id, GenerationEntity.user_id == user_id
        )
        return self._session.scalar(query)

    def latest(self, session_id: str, user_id: str, *, counted: bool = False) -> GenerationEntity | None:
        """The session's newest generation; the newest whose tokens are known with ``counted``."""
        query = sa.select(GenerationEntity).where(
            GenerationEntity.session_id == session_id, GenerationEntity.user_id == user_id
        )
        if counted:
            query = query.where(GenerationEntity.usage_source.is_not(None))
        return self._session.scalar(
            query.order_by(GenerationEntity.created_at.desc(), GenerationEntity.id.desc()).limit(1)
        )

    def newest(self, session_id: str, user_id: str, *, limit: int) -> Sequence[GenerationEntity]:
        """The session's newest generations, oldest first."""
        query = sa.select(GenerationEntity).where(
            GenerationEntity.session_id == session_id, GenerationEntity.user_id == user_id
        )
        order = (GenerationEntity.created_at.desc(), GenerationEntity.id.desc())
        return self._session.scalars(query.order_by(*order).limit(limit)).all()[::-1]

    def running_in(self, session_id: str, user_id: str) -> GenerationEntity | None:
        """The generation that runs in the session now, if one does."""
        query = sa.select(GenerationEntity).where(
            GenerationEntity.session_id == session_id, GenerationEntity.user_id == user_id, _RUNNING
        )
        return self._session.scalar(query.limit(1))

    def usage(self, session_id: str, user_id: str) -> SessionUsage:
        """What the session cost so far."""
        query = sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(GenerationEntity.prompt_tokens), 0),
            sa.func.coalesce(sa.func.sum(GenerationEntity.completion_tokens), 0),
        ).where(GenerationEntity.session_id == session_id, GenerationEntity.user_id == user_id)
        count, prompt, completion = self._session.execute(query).one()
        return SessionUsage(int(count), int(prompt or 0), int(completion or 0))

    def request_stop(self, generation_id: str, user_id: str) -> bool:
        """Ask the owner, whichever worker it is, to stop; whether the generation was still running."""
        return self._update(
            GenerationEntity.id == generation_id,
            GenerationEntity.user_id == user_id,
            _RUNNING,
            values={"stop_requested": True},
        )

    def finish(self, generation_id: str, *, epoch: int, values: dict[str, Any]) -> bool:
        """End it, once: false if somebody else has, or if this is a former owner."""
        return self._update(
            GenerationEntity.id == generation_id, GenerationEntity.epoch == epoch, _RUNNING, values=values
        )

    def renew(self, generation_ids: Collection[str], owner: str, lease: timedelta) -> None:
        """Say that ``owner`` still runs them, for as long as ``lease`` from now on."""
        self._update(
            GenerationEntity.id.in_(generation_ids),
            GenerationEntity.owner == owner,
            _RUNNING,
            values={"lease_until": DatabaseTime(lease)},
        )

    def stop_requests(self, generation_ids: Collection[str]) -> dict[str, bool]:
        """Id -> whether it was asked to stop, of those that are there and running."""
        query = sa.select(GenerationEntity.id, GenerationEntity.stop_requested).where(
            GenerationEntity.id.in_(generation_ids), _RUNNING
        )
        return {row.id: row.stop_requested for row in self._session.execute(query)}

    def abandoned(self, *, limit: int) -> Sequence[GenerationEntity]:
        """Running ones whose owner has not renewed its lease."""
        query = sa.select(GenerationEntity).where(_RUNNING, GenerationEntity.lease_until < DatabaseTime())
        return self._session.scalars(query.limit(limit)).all()

    def _update(self, *conditions: sa.ColumnElement[bool], values: dict[str, Any]) -> bool:
        query = sa.update(GenerationEntity).where(*conditions).values(**values)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount > 0
