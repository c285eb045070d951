"""Users, their sign-ins, and the installation's one-time setup."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, ExactText, Id


class UserEntity(Base):
    """A person who may sign in. ``login_name`` is the case-folded username: two users cannot differ by case only."""

    __tablename__ = "users"

    id: Mapped[Id] = mapped_column(primary_key=True)
    username: Mapped[str]
    login_name: Mapped[str] = mapped_column(ExactText, unique=True)
    email: Mapped[str | None] = mapped_column(ExactText, unique=True)
    password_hash: Mapped[str]
    role: Mapped[Code]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SignInEntity(Base):
    """One sign-in: a family of refresh tokens of which only the newest counts.

    Access tokens name their sign-in, so revoking the row ends them too.
    """

    __tablename__ = "sign_ins"
    __table_args__ = (sa.Index(None, "user_id", "address"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    refresh_hash: Mapped[Code]
    rotated_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]
    address: Mapped[Code]
    created_at: Mapped[datetime]


class StreamTicketEntity(Base):
    """A single-use pass to one session's event stream, for clients that cannot send headers."""

    __tablename__ = "stream_tickets"

    ticket_hash: Mapped[Code] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    sign_in_id: Mapped[Id]
    session_id: Mapped[Id]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class InstallationEntity(Base):
    """The one row that closes setup for ever: its primary key lets exactly one of two racing calls win."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    completed_at: Mapped[datetime]
