"""Routes that administrators have set."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, ExactText, Id


class RouteEntity(Base):
    """A public model and its targets: tables of provider, model, weight and order."""

    __tablename__ = "routes"

    name: Mapped[str] = mapped_column(ExactText, primary_key=True)
    targets: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON)
    updated_by: Mapped[Id]
    updated_at: Mapped[datetime]
