"""Sessions."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from domain.sessions import SessionKind
from models.database import Base, Code, Id, LongText


class SessionEntity(Base):
    """One chat of one user; or what holds a single turn that is no chat (any other ``kind``), shown to nobody.

    ``context_start`` is the first message position that still goes into the prompt (raised by clearing the context).
    ``upstream_state`` is what the provider's adapter wants back in the next request, with the provider that said it.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        sa.Index(None, "user_id", "kind", "archived", "pinned", "updated_at", "id"),
        sa.Index(None, "kind", "created_at"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[Code] = mapped_column(server_default=SessionKind.CHAT)
    title: Mapped[str]
    title_source: Mapped[Code]
    provider: Mapped[Code | None]
    model: Mapped[str | None]
    system_prompt: Mapped[str] = mapped_column(LongText)
    temperature: Mapped[float | None]
    max_tokens: Mapped[int | None]
    pinned: Mapped[bool]
    archived: Mapped[bool]
    context_start: Mapped[int]
    upstream_provider: Mapped[Code | None]
    upstream_state: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
