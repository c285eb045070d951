"""Messages."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, Id, LongText


class MessageEntity(Base):
    """One message in a session's tree.

    ``position`` counts the session's chosen branch from 0 and is NULL for alternatives that are not chosen, so the
    unique constraint lets exactly one of two racing turns have a place. ``text`` is the text of ``parts``, for search.
    """

    __tablename__ = "messages"
    __table_args__ = (
        sa.UniqueConstraint("session_id", "position"),
        sa.Index(None, "session_id", "parent_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    session_id: Mapped[Id] = mapped_column(sa.ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[Id]
    parent_id: Mapped[Id | None]
    position: Mapped[int | None]
    role: Mapped[Code]
    parts: Mapped[list[Any]] = mapped_column(sa.JSON)
    text: Mapped[str] = mapped_column(LongText)
    status: Mapped[Code]
    end_reason: Mapped[Code | None]
    error_code: Mapped[Code | None]
    provider: Mapped[Code | None]
    model: Mapped[str | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    usage_source: Mapped[Code | None]
    generation_id: Mapped[Id | None]
    created_at: Mapped[datetime]
