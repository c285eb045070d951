"""Claims of turns by idempotency keys."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models import ClaimEntity

_PURGE_AT_ONCE = 1000


class ClaimRepository:
    """Queries on claims."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, claim: ClaimEntity, at: datetime) -> None:
        """Store a new claim, also in the place of one that has expired. Raises Conflict if another one holds it."""
        self._delete(ClaimEntity.key_hash == claim.key_hash, ClaimEntity.expires_at <= at)
        self._session.add(claim)
        self._session.flush()

    def get(self, key_hash: str, user_id: str, at: datetime) -> ClaimEntity | None:
        """The user's claim with that key, unless it has expired."""
        query = sa.select(ClaimEntity).where(
            ClaimEntity.key_hash == key_hash, ClaimEntity.user_id == user_id, ClaimEntity.expires_at > at
        )
        return self._session.scalar(query)

    def purge(self, at: datetime) -> bool:
        """Delete some of what expired before ``at``; whether there may be more. In order: no two purges deadlock."""
        query = sa.select(ClaimEntity.key_hash).where(ClaimEntity.expires_at <= at)
        expired = self._session.scalars(query.order_by(ClaimEntity.key_hash).limit(_PURGE_AT_ONCE)).all()
        if expired:
            self._delete(ClaimEntity.key_hash.in_(expired))
        return len(expired) == _PURGE_AT_ONCE

    def _delete(self, *conditions: sa.ColumnElement[bool]) -> None:
        statement = sa.delete(ClaimEntity).where(*conditions)
        self._session.execute(statement, execution_options={"synchronize_session": False})
