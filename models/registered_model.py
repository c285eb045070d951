"""Models that were registered at run time."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, ExactText, Id, LongText


class RegisteredModelEntity(Base):
    """A model at a provider of its own: a user's (``owner_id``), or one of the installation's (no owner).

    ``holder`` is the owner's id, or ``system``, so that names are unique for each. ``kind`` names the adapter.
    ``api_key`` is sealed and bound to this row and its owner; ``key_hint`` is the end of it that may be shown.
    ``visible_to`` is ``everybody``, or the roles that may use a model of the installation, with commas between.
    """

    __tablename__ = "models"
    __table_args__ = (sa.UniqueConstraint("holder", "public_name"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner_id: Mapped[Id | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    holder: Mapped[Id]
    public_name: Mapped[str] = mapped_column(ExactText)
    aliases: Mapped[list[Any]] = mapped_column(sa.JSON)
    kind: Mapped[Code]
    base_url: Mapped[str] = mapped_column(sa.String(500))
    api_key: Mapped[str | None] = mapped_column(LongText)
    key_hint: Mapped[Code]
    upstream_model: Mapped[str]
    context_window: Mapped[int | None]
    max_output: Mapped[int | None]
    capabilities: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    visible_to: Mapped[Code]
    enabled: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
