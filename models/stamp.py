"""Stamps of what every node keeps in memory."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, Code


class StampEntity(Base):
    """How often something was changed: nodes that have it in memory compare the number, and read it anew if it moved.

    Written in the transaction that makes the change. It counts, because clocks of nodes differ.
    """

    __tablename__ = "stamps"

    name: Mapped[Code] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(sa.BigInteger)
