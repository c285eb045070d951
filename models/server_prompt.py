"""The operator's system prompts."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, ExactText, Id, LongText


class ServerPromptEntity(Base):
    """What stands in front of every client's system prompt where a public model is asked for."""

    __tablename__ = "server_prompts"

    public_model: Mapped[str] = mapped_column(ExactText, primary_key=True)
    text: Mapped[str] = mapped_column(LongText)
    updated_by: Mapped[Id]
    updated_at: Mapped[datetime]
