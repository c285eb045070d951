"""Prices that administrators have set."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, ExactText, Id


class PriceEntity(Base):
    """What a model costs, in micro-USD per million tokens."""

    __tablename__ = "prices"

    provider: Mapped[Code] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ExactText, primary_key=True)
    input: Mapped[int] = mapped_column(sa.BigInteger)
    output: Mapped[int] = mapped_column(sa.BigInteger)
    cached: Mapped[int] = mapped_column(sa.BigInteger)
    reasoning: Mapped[int] = mapped_column(sa.BigInteger)
    image: Mapped[int] = mapped_column(sa.BigInteger)
    updated_by: Mapped[Id]
    updated_at: Mapped[datetime]
