"""Sign-ins (families of refresh tokens) and stream tickets."""

from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.principal import Principal, Role
from models import SignInEntity, StreamTicketEntity, UserEntity

_PURGE_AT_ONCE = 100


class SignInRepository:
    """Queries on sign-ins and stream tickets."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, sign_in: SignInEntity) -> None:
        """Store a new sign-in."""
        self._session.add(sign_in)
        self._session.flush()

    def principal(self, sign_in_id: str, user_id: str, at: datetime) -> Principal | None:
        """Who calls with this sign-in, if it and its user still count."""
        query = sa.select(UserEntity.username, UserEntity.role).join_from(SignInEntity, UserEntity, _OWNER)
        row = self._session.execute(query.where(*_counts(sign_in_id, user_id, at))).one_or_none()
        return Principal(user_id, row.username, Role(row.role), sign_in_id) if row else None

    def get(self, sign_in_id: str, user_id: str, at: datetime) -> SignInEntity | None:
        """The sign-in, if it and its user still count."""
        query = sa.select(SignInEntity).join_from(SignInEntity, UserEntity, _OWNER)
        return self._session.scalar(query.where(*_counts(sign_in_id, user_id, at)))

    def is_known(self, user_id: str, network: str) -> bool:
        """Whether the user has signed in from there before."""
        query = sa.select(SignInEntity.id).where(SignInEntity.user_id == user_id, SignInEntity.address == network)
        return self._session.scalar(query.limit(1)) is not None

    def rotate(self, sign_in_id: str, old_hash: str, new_hash: str, at: datetime) -> bool:
        """Replace the refresh token; false if the old one was no longer the newest, or the sign-in has ended."""
        query = sa.update(SignInEntity).where(
            SignInEntity.id == sign_in_id,
            SignInEntity.refresh_hash == old_hash,
            SignInEntity.revoked_at.is_(None),
            SignInEntity.expires_at > at,
        )
        return self._changes(query.values(refresh_hash=new_hash, rotated_at=at)) == 1

    def revoke(self, sign_in_id: str, user_id: str, at: datetime) -> bool:
        """End one sign-in; whether it had not ended before."""
        query = sa.update(SignInEntity).where(SignInEntity.id == sign_in_id, SignInEntity.user_id == user_id)
        return self._changes(query.where(SignInEntity.revoked_at.is_(None)).values(revoked_at=at)) == 1

    def revoke_all(self, user_id: str, at: datetime, *, keep: str = "") -> int:
        """End every sign-in of a user but ``keep``; how many that were."""
        query = sa.update(SignInEntity).where(SignInEntity.user_id == user_id, SignInEntity.id != keep)
        return self._changes(query.where(SignInEntity.revoked_at.is_(None)).values(revoked_at=at))

    def add_ticket(self, ticket: StreamTicketEntity) -> None:
        """Store a new ticket."""
        self._session.add(ticket)
        self._session.flush()

    def take_ticket(self, ticket_hash: str, session_id: str, at: datetime) -> StreamTicketEntity | None:
        """The ticket, for the one caller who takes it in time."""
        ticket = self._session.get(StreamTicketEntity, ticket_hash)
        query = sa.delete(StreamTicketEntity).where(
            StreamTicketEntity.ticket_hash == ticket_hash,
            StreamTicketEntity.session_id == session_id,
            StreamTicketEntity.expires_at > at,
        )
        return ticket if self._changes(query) == 1 else None

    def purge(self, at: datetime) -> None:
        """Delete some of what expired before ``at``: by primary key, in order, so that two purges never deadlock."""
        for entity, key in ((SignInEntity, SignInEntity.id), (StreamTicketEntity, StreamTicketEntity.ticket_hash)):
            query = sa.select(key).where(entity.expires_at < at).order_by(key).limit(_PURGE_AT_ONCE)
            expired = self._session.scalars(query).all()
            if expired:
                self._changes(sa.delete(entity).where(key.in_(expired)))

    def _changes(self, statement: Any) -> int:
        result = self._session.execute(statement, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount


_OWNER = SignInEntity.user_id == UserEntity.id


def _counts(sign_in_id: str, user_id: str, at: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        SignInEntity.id == sign_in_id,
        SignInEntity.user_id == user_id,
        SignInEntity.revoked_at.is_(None),
        SignInEntity.expires_at > at,
        UserEntity.is_active.is_(True),
    )
