"""What the ledger's rows come to."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, Id

_Count = Mapped[int]


def _count() -> Mapped[int]:
    return mapped_column(sa.BigInteger)


class UsageSumEntity(Base):
    """What the settled rows of one day, week or month come to that a report may ask for together.

    ``grain`` says what the sum tells apart; the other names are empty, as is ``key_id`` where there was no key. It
    has the rows that began before the mark (:class:`UsageMarkEntity`). ``turns`` counts a turn for every model that
    it had a part of, ``leading_turns`` once.
    """

    __tablename__ = "usage_sums"
    __table_args__ = (
        sa.Index(None, "user_id", "grain", "span", "start"),
        sa.Index(None, "key_id", "grain", "span", "start"),
    )

    grain: Mapped[Code] = mapped_column(primary_key=True)
    span: Mapped[Code] = mapped_column(primary_key=True)
    start: Mapped[date] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(primary_key=True)
    key_id: Mapped[Id] = mapped_column(primary_key=True)
    provider: Mapped[Code] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    turns: _Count = _count()
    leading_turns: _Count = _count()
    requests: _Count = _count()
    unpriced: _Count = _count()
    prompt_tokens: _Count = _count()
    cached_tokens: _Count = _count()
    completion_tokens: _Count = _count()
    reasoning_tokens: _Count = _count()
    cost: _Count = _count()


class UsageMarkEntity(Base):
    """The one row that says how far the ledger is added up: all that was settled and began before ``until`` is."""

    __tablename__ = "usage_mark"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    until: Mapped[datetime]
