"""Generations."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, Id


class GenerationEntity(Base):
    """One run that produces one assistant message.

    ``owner`` is the worker that runs it; ``epoch`` fences off a former owner: status changes only where both still
    match. ``stop_requested`` reaches the owner from any worker. ``last_seq`` is the number of its last event, once
    it has ended.
    """

    __tablename__ = "generations"
    __table_args__ = (
        sa.Index(None, "session_id", "created_at"),
        sa.Index(None, "status", "lease_until"),
        sa.Index(None, "user_id", "status"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    session_id: Mapped[Id] = mapped_column(sa.ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[Id]
    message_id: Mapped[Id]
    owner: Mapped[Code]
    epoch: Mapped[int]
    lease_until: Mapped[datetime]
    stop_requested: Mapped[bool]
    status: Mapped[Code]
    end_reason: Mapped[Code | None]
    error_code: Mapped[Code | None]
    error_message: Mapped[str | None] = mapped_column(sa.String(1000))
    provider: Mapped[Code]
    model: Mapped[str]
    context_limit: Mapped[int]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    usage_source: Mapped[Code | None]
    last_seq: Mapped[int | None]
    created_at: Mapped[datetime]
    first_token_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
