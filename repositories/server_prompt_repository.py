"""The operator's system prompts."""

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import ServerPromptEntity


class ServerPromptRepository:
    """Queries on server prompts; they belong to the installation, not to a user."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> Sequence[ServerPromptEntity]:
        """Every prompt, by public model."""
        return self._session.scalars(sa.select(ServerPromptEntity).order_by(ServerPromptEntity.public_model)).all()

    def put(self, entity: ServerPromptEntity) -> None:
        """Store a prompt in place of the one that its model has."""
        self._session.merge(entity)
        self._session.flush()

    def delete(self, public_model: str) -> bool:
        """Forget a prompt; whether there was one."""
        query = sa.delete(ServerPromptEntity).where(ServerPromptEntity.public_model == public_model)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1
