"""API keys."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, Id

_Names = sa.JSON(none_as_null=True)


class ApiKeyEntity(Base):
    """What a program calls with. The key itself is not here: its SHA-256, and the beginning to recognise it by.

    ``models`` are public names and ``addresses`` networks in CIDR notation; NULL does not limit, as with the limits.
    ``tools`` are the server's that may be used for it; NULL is none.
    ``budgeted``: it has, or had, a budget of its own. A key that was revoked stays, for who reads what it has used.
    """

    __tablename__ = "api_keys"
    __table_args__ = (sa.Index(None, "user_id", "id"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    prefix: Mapped[Code]
    key_hash: Mapped[Code] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(sa.JSON)
    models: Mapped[list[str] | None] = mapped_column(_Names)
    addresses: Mapped[list[str] | None] = mapped_column(_Names)
    tools: Mapped[list[str] | None] = mapped_column(_Names)
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    parallel_requests: Mapped[int | None]
    disabled: Mapped[bool]
    budgeted: Mapped[bool]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    created_by: Mapped[Id]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
