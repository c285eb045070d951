"""Responses."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Id


class ResponseEntity(Base):
    """An answer that its client may ask for again, and go on from: the one turn of a hidden session.

    ``request`` is what was asked, in the client's protocol. ``previous_response_id`` may name one that was deleted.
    """

    __tablename__ = "responses"
    __table_args__ = (sa.Index(None, "user_id", "previous_response_id"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    session_id: Mapped[Id] = mapped_column(sa.ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[Id]
    key_id: Mapped[Id | None]
    generation_id: Mapped[Id] = mapped_column(index=True)
    message_id: Mapped[Id]
    previous_response_id: Mapped[Id | None]
    request: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    background: Mapped[bool]
    created_at: Mapped[datetime]
