"""Messages of a session: the chosen branch and its alternatives."""

from collections.abc import Collection, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.paging import Page
from models import MessageEntity
from repositories.paging import decode_cursor, page_of


class MessageRepository:
    """Queries on messages; every one has the owner in its WHERE."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, message_id: str, user_id: str) -> MessageEntity | None:
        """The message, if it is this user's."""
        query = sa.select(MessageEntity).where(MessageEntity.id == message_id, MessageEntity.user_id == user_id)
        return self._session.scalar(query, execution_options={"populate_existing": True})

    def last(self, session_id: str, user_id: str) -> MessageEntity | None:
        """The last message of the chosen branch."""
        query = self._branch(session_id, user_id).order_by(MessageEntity.position.desc())
        return self._session.scalar(query.limit(1))

    def page(self, session_id: str, user_id: str, *, limit: int, cursor: str | None) -> Page[MessageEntity]:
        """The chosen branch, oldest first."""
        query = self._branch(session_id, user_id)
        if cursor:
            query = query.where(MessageEntity.position > decode_cursor(cursor, tuple[int])[0])
        rows = self._session.scalars(query.order_by(MessageEntity.position).limit(limit + 1)).all()
        return page_of(rows, limit, lambda row: (row.position,))

    def siblings(self, session_id: str, user_id: str, parents: Collection[str | None]) -> dict[str | None, list[str]]:
        """Parent id -> ids of its children, oldest first; key None holds the session's first messages."""
        query = sa.select(MessageEntity.parent_id, MessageEntity.id).where(
            MessageEntity.session_id == session_id, MessageEntity.user_id == user_id
        )
        known = [parent for parent in parents if parent is not None]
        child_of = MessageEntity.parent_id.in_(known)
        query = query.where(child_of | MessageEntity.parent_id.is_(None) if None in parents else child_of)
        children: dict[str | None, list[str]] = {}
        for parent_id, message_id in self._session.execute(query.order_by(MessageEntity.id)):
            children.setdefault(parent_id, []).append(message_id)
        return children

    def newest_children(self, session_id: str, user_id: str) -> dict[str, str]:
        """Message id -> id of the latest that follows it, of those that are not on the chosen branch."""
        query = sa.select(MessageEntity.parent_id, sa.func.max(MessageEntity.id)).where(
            MessageEntity.session_id == session_id, MessageEntity.user_id == user_id, MessageEntity.position.is_(None)
        )
        rows = self._session.execute(query.group_by(MessageEntity.parent_id))
        return {parent_id: child_id for parent_id, child_id in rows if parent_id is not None}

    def leave_branch(self, session_id: str, user_id: str, position: int) -> None:
        """Take the messages from ``position`` on off the chosen branch; they stay as alternatives."""
        self._update(
            MessageEntity.session_id == session_id,
            MessageEntity.user_id == user_id,
            MessageEntity.position >= position,
            values={"position": None},
        )

    def place(self, path: Sequence[str], user_id: str, position: int) -> None:
        """Put messages on the chosen branch, one after the other from ``position`` on."""
        positions = {message_id: place for place, message_id in enumerate(path, position)}
        self._update(
            MessageEntity.id.in_(path),
            MessageEntity.user_id == user_id,
            values={"position": sa.case(positions, value=MessageEntity.id)},
        )

    def write(self, message_id: str, user_id: str, **values: Any) -> bool:
        """Change columns; whether the message is there and this user's."""
        return self._update(MessageEntity.id == message_id, MessageEntity.user_id == user_id, values=values)

    def write_texts(self, rows: Sequence[dict[str, Any]]) -> None:
        """Checkpoint partial answers together: rows of ``id_``, ``parts_``, ``text_``; running ones only."""
        table = cast("sa.Table", MessageEntity.__table__)
        statement = (
            sa.update(table)
            .where(table.c.id == sa.bindparam("id_"), table.c.status == "running")
            .values(parts=sa.bindparam("parts_"), text=sa.bindparam("text_"))
        )
        self._session.connection().execute(statement, list(rows))

    def _branch(self, session_id: str, user_id: str) -> sa.Select[MessageEntity]:
        return sa.select(MessageEntity).where(
            MessageEntity.session_id == session_id,
            MessageEntity.user_id == user_id,
            MessageEntity.position.is_not(None),
        )

    def _update(self, *conditions: sa.ColumnElement[bool], values: dict[str, Any]) -> bool:
        query = sa.update(MessageEntity).where(*conditions).values(**values)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount > 0
