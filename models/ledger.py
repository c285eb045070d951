"""The ledger."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code, Id


class LedgerEntity(Base):
    """One request to a provider, and what it used and cost.

    It outlives its session, its generation and its user: nothing here refers to them but by their ids. ``cost`` is in
    nano-USD, at the four prices of the row (micro-USD per million tokens; NULL for a model without a price).
    ``held_tokens`` and ``held_cost`` are what was reserved at most, ``budgeted`` and ``key_budgeted`` tell whether the
    user's budget held it, and that of the API key that asked. While the row is reserved, ``prompt_tokens`` is our own
    count.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        sa.UniqueConstraint("generation_id", "attempt", "kind"),
        sa.Index(None, "user_id", "created_at"),
        sa.Index(None, "key_id", "created_at"),
        sa.Index(None, "created_at"),
        sa.Index(None, "state", "created_at"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id]
    key_id: Mapped[Id | None]
    session_id: Mapped[Id | None]
    generation_id: Mapped[Id]
    attempt: Mapped[int]
    kind: Mapped[Code]
    provider: Mapped[Code]
    model: Mapped[str]
    public_model: Mapped[str]
    state: Mapped[Code]
    source: Mapped[Code | None]
    end_reason: Mapped[Code | None]
    error_code: Mapped[Code | None]
    prompt_tokens: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    input_price: Mapped[int | None] = mapped_column(sa.BigInteger)
    cached_price: Mapped[int | None] = mapped_column(sa.BigInteger)
    output_price: Mapped[int | None] = mapped_column(sa.BigInteger)
    reasoning_price: Mapped[int | None] = mapped_column(sa.BigInteger)
    cost: Mapped[int] = mapped_column(sa.BigInteger)
    held_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    held_cost: Mapped[int] = mapped_column(sa.BigInteger)
    budgeted: Mapped[bool]
    key_budgeted: Mapped[bool]
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
