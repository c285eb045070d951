"""Sessions of an owner."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.paging import Page
from domain.sessions import SessionKind
from models import MessageEntity, SessionEntity
from models.database import UtcDateTime
from repositories.paging import decode_cursor, page_of

_ORDER = (SessionEntity.pinned, SessionEntity.updated_at, SessionEntity.id)

_LIST_INDEX = "ix_sessions_user_id_kind_archived_pinned_updated_at_id"
_PURGE_AT_ONCE = 200


class SessionRepository:
    """Queries on sessions; every one for a user has the owner in its WHERE."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, entity: SessionEntity) -> None:
        """Store a new session."""
        self._session.add(entity)
        self._session.flush()

    def get(self, session_id: str, user_id: str, *, kind: SessionKind = SessionKind.CHAT) -> SessionEntity | None:
        """The session, if it is this user's and of that kind."""
        query = sa.select(SessionEntity).where(
            SessionEntity.id == session_id, SessionEntity.user_id == user_id, SessionEntity.kind == kind
        )
        return self._session.scalar(query, execution_options={"populate_existing": True})

    def page(self, user_id: str, *, limit: int, cursor: str | None, archived: bool, text: str) -> Page[SessionEntity]:
        """Chats: pinned ones first, then the latest used; ``text`` is looked for in titles and messages."""
        query = sa.select(SessionEntity).where(
            SessionEntity.user_id == user_id,
            SessionEntity.kind == SessionKind.CHAT,
            SessionEntity.archived == archived,
        )
        if text:
            query = query.where(_mentions(text))
        if cursor:
            pinned, updated_at, session_id = decode_cursor(cursor, tuple[bool, datetime, str])
            query = _in_order(query.where(*_after(pinned, updated_at, session_id)))
        rows = self._session.scalars(query.order_by(*(column.desc() for column in _ORDER)).limit(limit + 1)).all()
        return page_of(rows, limit, lambda row: (row.pinned, row.updated_at, row.id))

    def purge(self, kind: SessionKind, before: datetime) -> bool:
        """Delete some of a kind that were made before then, whosesoever they are; whether there may be more."""
        query = sa.select(SessionEntity.id).where(SessionEntity.kind == kind, SessionEntity.created_at < before)
        ids = self._session.scalars(query.order_by(SessionEntity.created_at).limit(_PURGE_AT_ONCE)).all()
        if ids:
            statement = sa.delete(SessionEntity).where(SessionEntity.id.in_(ids))
            self._session.execute(statement, execution_options={"synchronize_session": False})
        return len(ids) == _PURGE_AT_ONCE

    def last_changes(self, session_ids: Collection[str]) -> dict[str, datetime]:
        """Session id -> when it was changed last, of those that exist; for the worker itself, not for a user."""
        query = sa.select(SessionEntity.id, SessionEntity.updated_at).where(SessionEntity.id.in_(session_ids))
        return {row.id: row.updated_at for row in self._session.execute(query)}

    def update(self, session_id: str, user_id: str, **values: Any) -> bool:
        """Change columns; whether the session is there and this user's."""
        query = sa.update(SessionEntity).where(SessionEntity.id == session_id, SessionEntity.user_id == user_id)
        return self._changed(query.values(**values))

    def set_title(self, session_id: str, user_id: str, title: str, source: str, *, over: Collection[str]) -> bool:
        """Give a title, unless the present one comes from elsewhere than ``over``: the user's own stays."""
        query = sa.update(SessionEntity).where(
            SessionEntity.id == session_id, SessionEntity.user_id == user_id, SessionEntity.title_source.in_(over)
        )
        return self._changed(query.values(title=title, title_source=source))

    def delete(self, session_id: str, user_id: str, *, kind: SessionKind = SessionKind.CHAT) -> bool:
        """Delete it with all that hangs on it; whether there was such a session of this user and of that kind."""
        query = sa.delete(SessionEntity).where(
            SessionEntity.id == session_id, SessionEntity.user_id == user_id, SessionEntity.kind == kind
        )
        return self._changed(query)

    def _changed(self, query: Any) -> bool:
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1


def _after(pinned: bool, updated_at: datetime, session_id: str) -> list[sa.ColumnElement[bool]]:  # a key
    """What comes after that place in the order of the list."""
    place = (sa.literal(pinned, sa.Boolean()), sa.literal(updated_at, UtcDateTime()), sa.literal(session_id))
    if pinned:
        return [sa.tuple_(*_ORDER) < sa.tuple_(*place)]
    # MySQL finds no place in an index by a comparison of rows: it has to be told where the times begin.
    return [
        SessionEntity.pinned == pinned,
        SessionEntity.updated_at <= updated_at,
        sa.tuple_(*_ORDER[1:]) < sa.tuple_(*place[1:]),
    ]


def _in_order(query: sa.Select[SessionEntity]) -> sa.Select[SessionEntity]:
    """Where half of all sessions come after a place, MySQL would read from the first one on to find it."""
    for kind in ("mysql", "mariadb"):
        query = query.with_hint(SessionEntity.__table__, f"FORCE INDEX ({_LIST_INDEX})", kind)
    return query


def _mentions(text: str) -> sa.ColumnElement[bool]:
    """Whether a session has it in its title or messages. The session's owner is asked for outside.

    Asked for here too, SQLite would look for the messages of each session among all of the owner's.
    """
    found = sa.select(MessageEntity.id).where(
        MessageEntity.session_id == SessionEntity.id, MessageEntity.text.icontains(text, autoescape=True)
    )
    return SessionEntity.title.icontains(text, autoescape=True) | found.exists()
