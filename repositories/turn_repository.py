"""What every stored turn reads and writes: few statements, all prepared, and each finds its rows by an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, Self, cast

import sqlalchemy as sa

from domain.generation import GenerationStatus
from domain.sessions import SessionKind
from models import GenerationEntity, MessageEntity, SessionEntity
from repositories.database_time import DatabaseTime
from repositories.prepared import Prepared
from repositories.transaction import Transaction

_SESSIONS = cast("sa.Table", SessionEntity.__table__)
_MESSAGES = cast("sa.Table", MessageEntity.__table__)
_GENERATIONS = cast("sa.Table", GenerationEntity.__table__)
_END_OF_TIME = 2**31 - 1  # a position that no message has


@dataclass(frozen=True, slots=True)
class TurnSession:
    """What a turn needs to know of its session; ``last_id`` and ``last_position`` are those of its last message."""

    id: str
    provider: str | None
    model: str | None
    system_prompt: str
    temperature: float | None
    max_tokens: int | None
    title_source: str
    context_start: int
    upstream_provider: str | None = None
    upstream_state: str | None = None
    last_id: str | None = None
    last_position: int | None = None

    @classmethod
    def of(cls, entity: SessionEntity) -> Self:
        """A session that has no message yet."""
        return cls(*_settings_of(entity))


class Said(NamedTuple):
    """A message as prompts need it; ``parts`` is JSON."""

    position: int
    role: str
    parts: str


class Standing(NamedTuple):
    """How a turn finds things: how many generations of its user run, whether one does in its session, the last message.

    The message is None where there is none.
    """

    running: int
    is_busy: bool
    last_id: str | None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A row of messages to be."""

    id: str
    session_id: str
    user_id: str
    parent_id: str | None
    position: int
    role: str
    parts: list[Any]
    text: str
    status: str
    created_at: datetime
    provider: str | None = None
    model: str | None = None
    generation_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A row of generations to be; it runs from the beginning."""

    id: str
    session_id: str
    user_id: str
    message_id: str
    owner: str
    epoch: int
    provider: str
    model: str
    context_limit: int
    created_at: datetime


_SESSION = [column.name for column in _SESSIONS.columns]
_SETTINGS = [field.name for field in fields(TurnSession)][:8]
_settings_of = attrgetter(*_SETTINGS)
_MESSAGE = [field.name for field in fields(NewMessage)]
_GENERATION = [field.name for field in fields(NewGeneration)]
_END = (
    "status",
    "end_reason",
    "error_code",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "usage_source",
    "provider",
    "model",
)
_GENERATION_END = (*_END, "error_message", "context_limit", "first_token_at", "finished_at", "last_seq")


def _asked(table: sa.Table, name: str) -> sa.ColumnElement[bool]:
    return table.c[name] == sa.bindparam(f"the_{name}", type_=table.c[name].type)


def _given(table: sa.Table, names: Sequence[str]) -> dict[str, Any]:
    """Values for columns; each comes as ``new_`` and its name (see :func:`_new`), which is not a condition's then."""
    return {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


def _row(names: Sequence[str], new: object) -> dict[str, Any]:
    return {f"new_{name}": getattr(new, name) for name in names}


def _new(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in values.items()}


def _last(column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
    """Of the last message of the session's branch below a position."""
    branch = sa.select(column).where(
        _MESSAGES.c.session_id == sa.bindparam("the_id", type_=_SESSIONS.c.id.type),
        _asked(_MESSAGES, "user_id"),
        _MESSAGES.c.position < sa.bindparam("before", type_=sa.Integer()),
    )
    return branch.order_by(_MESSAGES.c.position.desc()).limit(1).scalar_subquery()


_IS_RUNNING = _GENERATIONS.c.status == GenerationStatus.RUNNING
_IS_HERE = _GENERATIONS.c.session_id == sa.bindparam("the_id", type_=_SESSIONS.c.id.type)
_OWN_SESSION = (_asked(_SESSIONS, "id"), _asked(_SESSIONS, "user_id"))
_IN_CONTEXT = _SESSIONS.c.context_start <= sa.bindparam("position", type_=sa.Integer())

SESSION = Prepared(
    sa.select(
        *(_SESSIONS.c[name] for name in (*_SETTINGS, "upstream_provider", "upstream_state")),
        _last(_MESSAGES.c.id),
        _last(_MESSAGES.c.position),
    ).where(*_OWN_SESSION, _SESSIONS.c.kind == SessionKind.CHAT)
)
SAID = Prepared(
    sa.select(_MESSAGES.c.position, _MESSAGES.c.role, sa.cast(_MESSAGES.c.parts, sa.Text))
    .where(
        _asked(_MESSAGES, "session_id"),
        _asked(_MESSAGES, "user_id"),
        _MESSAGES.c.position >= sa.bindparam("start", type_=sa.Integer()),
        _MESSAGES.c.position < sa.bindparam("before", type_=sa.Integer()),
    )
    .order_by(_MESSAGES.c.position.desc())
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
RUNNING = Prepared(sa.select(sa.func.count()).where(_asked(_GENERATIONS, "user_id"), _IS_RUNNING))
STANDING = Prepared(
    # Both figures from the user's few running ones: the other index would lead through all of a long session's.
    sa.select(sa.func.count(), sa.func.max(sa.case((_IS_HERE, 1), else_=0)), _last(_MESSAGES.c.id)).where(
        _asked(_GENERATIONS, "user_id"), _IS_RUNNING
    )
)
ADD_SESSION = Prepared(sa.insert(_SESSIONS))
ADD_MESSAGE = Prepared(sa.insert(_MESSAGES).values(_given(_MESSAGES, _MESSAGE)))
TAKE = Prepared(sa.update(_SESSIONS).where(*_OWN_SESSION).values(_given(_SESSIONS, ["updated_at"])))
TAKE_BACK = Prepared(
    sa.update(_SESSIONS).where(*_OWN_SESSION).values(_given(_SESSIONS, ["updated_at", "context_start"]))
)
REMEMBER = Prepared(
    sa.update(_SESSIONS)
    .where(*_OWN_SESSION)
    .values(
        {
            name: sa.case((_IN_CONTEXT, value), else_=None)
            for name, value in _given(_SESSIONS, ["upstream_state", "upstream_provider"]).items()
        }
        | _given(_SESSIONS, ["updated_at"])
    )
)
END = Prepared(
    sa.update(_GENERATIONS)
    .where(_asked(_GENERATIONS, "id"), _asked(_GENERATIONS, "epoch"), _IS_RUNNING)
    .values(_given(_GENERATIONS, _GENERATION_END))
)
WRITE = Prepared(
    sa.update(_MESSAGES)
    .where(_asked(_MESSAGES, "id"), _asked(_MESSAGES, "user_id"))
    .values(_given(_MESSAGES, (*_END, "parts", "text")))
)


@cache
def _add_generation(lease: timedelta) -> Prepared:
    fixed = {
        "status": GenerationStatus.RUNNING,
        "stop_requested": sa.false(),
        "lease_until": DatabaseTime(lease),
    }
    return Prepared(sa.insert(_GENERATIONS).values(_given(_GENERATIONS, _GENERATION) | fixed))


class TurnRepository:
    """Every query for a user has the owner in its WHERE."""

    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.plain

    # Before a turn

    def session(self, session_id: str, user_id: str) -> TurnSession | None:
        """The chat, if it is this user's."""
        place = {"the_id": session_id, "the_user_id": user_id, "before": _END_OF_TIME}
        rows = SESSION.on(self._connection, place).fetchall()
        return TurnSession(*rows[0]) if rows else None

    def said(self, session_id: str, user_id: str, *, start: int, before: int, most: int) -> list[Said]:
        """The chosen branch from position ``start`` to below ``before``, newest first, so many messages at most."""
        place = {"the_session_id": session_id, "the_user_id": user_id, "start": start, "before": before, "most": most}
        return [Said(*row) for row in SAID.on(self._connection, place).fetchall()]

    # Its beginning

    def running(self, user_id: str) -> int:
        """How many generations of the user run now, on any worker."""
        ((running,),) = RUNNING.on(self._connection, {"the_user_id": user_id}).fetchall()
        return int(running)

    def take(self, session_id: str, user_id: str, *, at: datetime, context_start: int | None = None) -> bool:
        """Change the session's row, which is the lock of its branch; false if it is not there and this user's."""
        place = {"the_id": session_id, "the_user_id": user_id, "new_updated_at": at}
        if context_start is None:
            return TAKE.on(self._connection, place).rowcount == 1
        return TAKE_BACK.on(self._connection, place | {"new_context_start": context_start}).rowcount == 1

    def standing(self, session_id: str, user_id: str, *, before: int | None = None) -> Standing:
        """How things stand, under that lock; the last message is that below position ``before``."""
        place = {"the_id": session_id, "the_user_id": user_id, "before": _END_OF_TIME if before is None else before}
        ((running, is_busy, last_id),) = STANDING.on(self._connection, place).fetchall()
        return Standing(int(running), bool(is_busy), last_id)

    def add_session(self, entity: SessionEntity) -> None:
        """Store a new session."""
        values = vars(entity)
        ADD_SESSION.on(self._connection, {name: values.get(name) for name in _SESSION})

    def add_messages(self, *messages: NewMessage) -> None:
        """Store new messages. Raises ``Conflict`` on leaving if another turn took the same position."""
        ADD_MESSAGE.on(self._connection, [_row(_MESSAGE, one) for one in messages])

    def add_generation(self, new: NewGeneration, lease: timedelta) -> None:
        """Store a new generation, which its owner holds for as long as ``lease``."""
        _add_generation(lease).on(self._connection, _row(_GENERATION, new))

    # Its end

    def remember(self, session_id: str, user_id: str, *, position: int, **values: Any) -> None:
        """Change the session's row after the answer at ``position``: ``updated_at`` and what its provider remembers.

        That is ``upstream_state`` and ``upstream_provider``; they go if the context was cleared since.
        """
        place = {"the_id": session_id, "the_user_id": user_id, "position": position}
        REMEMBER.on(self._connection, place | _new(values))

    def end(self, generation_id: str, *, epoch: int, values: dict[str, Any]) -> bool:
        """End the generation, once: false if somebody else has, or if this is a former owner."""
        place = {"the_id": generation_id, "the_epoch": epoch}
        return END.on(self._connection, place | _new(values)).rowcount == 1

    def write(self, message_id: str, user_id: str, values: dict[str, Any]) -> bool:
        """Write the answer as it ended; whether the message is there and this user's."""
        place = {"the_id": message_id, "the_user_id": user_id}
        return WRITE.on(self._connection, place | _new(values)).rowcount == 1
