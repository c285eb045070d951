"""Opening a sign-in: what registration, setup and login end with."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.clock import now
from domain.identifiers import new_id
from models import SignInEntity, UserEntity
from repositories.unit_of_work import UnitOfWork

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in as its tokens tell it. ``rotation`` is the secret in the one refresh token that counts."""

    user: UserEntity
    sign_in_id: str
    rotation: str
    expires_at: datetime


class SignIns:
    """Opens sign-ins that end ``ttl_s`` seconds later, whatever happens to their tokens."""

    def __init__(self, ttl_s: int) -> None:
        self._ttl = timedelta(seconds=ttl_s)

    def open(self, uow: UnitOfWork, user: UserEntity, network: str) -> SignedIn:
        """A new sign-in of ``user`` from ``network``, in the transaction of the caller."""
        at, rotation = now(), new_secret()
        entity = SignInEntity(
            id=new_id("sgn"),
            user_id=user.id,
            refresh_hash=digest(rotation),
            rotated_at=at,
            expires_at=at + self._ttl,
            revoked_at=None,
            address=network,
            created_at=at,
        )
        uow.sign_ins.add(entity)
        return SignedIn(user, entity.id, rotation, entity.expires_at)


def new_secret() -> str:
    """256 random bits, for URLs."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def digest(secret: str) -> str:
    """What is kept of a random secret: enough to recognise it, useless to a reader of the database."""
    return hashlib.sha256(secret.encode()).hexdigest()
