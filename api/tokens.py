"""Access and refresh tokens: minted from a sign-in, and read back with nothing taken on trust."""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import flask_jwt_extended as jwt
from flask import current_app
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from api.schemas import ApiModel
from domain.clock import now
from domain.errors import NotAuthenticated
from domain.principal import Role
from services.sign_ins import SignedIn


class UserOut(ApiModel):
    """A user, as everybody who may see it sees it."""

    id: str
    username: str
    email: str | None
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime


class TokensOut(ApiModel):
    """What a client keeps after signing in: `expires_in` is in seconds, the refresh token counts once."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # the kind, no secret
    expires_in: int
    user: UserOut


def mint(signed_in: SignedIn) -> TokensOut:
    """Fresh tokens of a sign-in; neither outlives it."""
    left = signed_in.expires_at - now()
    short = min(timedelta(seconds=current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]), left)
    user_id, claims = signed_in.user.id, {"sid": signed_in.sign_in_id}
    return TokensOut(
        access_token=jwt.create_access_token(user_id, additional_claims=claims, expires_delta=short),
        refresh_token=jwt.create_refresh_token(
            user_id, additional_claims=claims | {"rot": signed_in.rotation}, expires_delta=left
        ),
        expires_in=int(short.total_seconds()),
        user=UserOut.model_validate(signed_in.user),
    )


def claims_of(token: str, token_type: Literal["access", "refresh"]) -> Mapping[str, Any]:
    """The claims of a token that we made for this use. Raises :class:`NotAuthenticated`."""
    try:
        claims = jwt.decode_token(token) if _is_canonical(token) else {}
    except ExpiredSignatureError:
        raise NotAuthenticated(f"The {token_type} token has expired.", "token_expired") from None
    except (JWTExtendedException, PyJWTError, ValueError):
        claims = {}
    if claims.get("type") != token_type or not isinstance(claims.get("sid"), str):
        raise NotAuthenticated(f"The {token_type} token is not valid.", "invalid_token")
    return claims


def _is_canonical(token: str) -> bool:
    """Whether the signature is written the one way we write it: decoders overlook stray bits and characters."""
    signature = token.rpartition(".")[2]
    try:
        decoded = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except (binascii.Error, ValueError):
        return False
    return base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == signature
