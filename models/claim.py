"""Claims of turns by their clients' idempotency keys."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, Id


class ClaimEntity(Base):
    """The turn that a client's idempotency key stands for: stored with the turn, so that one exists exactly if both do.

    Neither the key nor the request is kept, only their SHA-256. The primary key lets exactly one of two racing turns
    win. There are no foreign keys: a claim outlives the session that it names, or a late retry would begin another one.
    """

    __tablename__ = "claims"

    key_hash: Mapped[Code] = mapped_column(primary_key=True)
    user_id: Mapped[Id]
    request_hash: Mapped[Code]
    session_id: Mapped[Id]
    message_id: Mapped[Id]
    generation_id: Mapped[Id]
    expires_at: Mapped[datetime] = mapped_column(index=True)
