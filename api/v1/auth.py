"""Signing in, staying signed in, signing out."""

from flask import Response
from flask_openapi import Tag
from pydantic import AliasChoices, Field, SecretStr

from api.blueprint import Blueprint
from api.context import client_address, principal, services
from api.declarations import any_scope, limited, public, returns, scoped
from api.message_schemas import Identifier
from api.schemas import ApiModel, Nothing, ok
from api.tokens import TokensOut, UserOut, claims_of, mint
from domain.api_keys import Scope
from services.auth_service import TICKET_TTL_S

bp = Blueprint("auth", __name__, url_prefix="/api/v1/auth", abp_tags=[Tag(name="auth")])


class RegisterIn(ApiModel):
    """A new user. Passwords have 8 to 128 characters and are not common ones."""

    username: str = Field(max_length=200)
    password: SecretStr = Field(max_length=1000)
    email: str | None = Field(None, max_length=300)


class LoginIn(ApiModel):
    """`username` is the name or the e-mail address."""

    username: str = Field(max_length=300)
    password: SecretStr = Field(max_length=1000)


class RefreshIn(ApiModel):
    """The newest refresh token of the sign-in."""

    refresh_token: str = Field(max_length=4000)


class PasswordIn(ApiModel):
    """The old and the new password."""

    current_password: SecretStr = Field(max_length=1000)
    new_password: SecretStr = Field(max_length=1000)


class TicketIn(ApiModel):
    """The session whose events the ticket opens."""

    session_id: Identifier = Field(validation_alias=AliasChoices("session_id", "sessionId"))


class TicketOut(ApiModel):
    """A pass for one use within `expires_in` seconds, to be sent as `?ticket=`."""

    ticket: str
    expires_in: int


@bp.post("/register", **returns(TokensOut, 201))
@public
@limited("auth")
def register(body: RegisterIn) -> Response:
    """Make an account and sign in, where registration is open."""
    address = client_address()
    signed_in = services().accounts.register(body.username, body.password.get_secret_value(), body.email, address)
    return ok(mint(signed_in), 201)


@bp.post("/login", **returns(TokensOut))
@public
@limited("auth")
def login(body: LoginIn) -> Response:
    """Sign in by name or e-mail address. 429 `too_many_attempts` after failures, for at most a minute."""
    return ok(mint(services().auth.login(body.username, body.password.get_secret_value(), client_address())))


@bp.post("/refresh", **returns(TokensOut))
@public
@limited("auth")
def refresh(body: RefreshIn) -> Response:
    """New tokens for the newest refresh token. An older one ends the sign-in: it must have been copied."""
    claims = claims_of(body.refresh_token, "refresh")
    signed_in = services().auth.refresh(
        sign_in_id=claims["sid"], user_id=claims["sub"], rotation=str(claims.get("rot"))
    )
    return ok(mint(signed_in))


@bp.post("/logout", **returns(Nothing))
def logout() -> Response:
    """End this sign-in: its access and refresh tokens are refused from now on."""
    services().auth.logout(principal())
    return ok(Nothing())


@bp.get("/me", **returns(UserOut))
@any_scope
def me() -> Response:
    """Who is calling."""
    return ok(UserOut.model_validate(services().accounts.me(principal())))


@bp.put("/password", **returns(Nothing))
@limited("auth")
def change_password(body: PasswordIn) -> Response:
    """Change one's password. This sign-in goes on; all others end."""
    current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
    services().accounts.change_password(principal(), current, new, client_address())
    return ok(Nothing())


@bp.post("/tickets", **returns(TicketOut, 201))
@scoped(Scope.CHAT)
def issue_ticket(body: TicketIn) -> Response:
    """A single-use pass to the events of one session, for clients that cannot send headers (EventSource)."""
    ticket = services().auth.issue_ticket(principal(), body.session_id)
    return ok(TicketOut(ticket=ticket, expires_in=TICKET_TTL_S), 201)
