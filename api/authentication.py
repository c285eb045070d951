"""Who is calling, for every route: a route is closed unless it declares itself public."""

import hmac
from typing import Any

import flask_jwt_extended as jwt
from flask import Flask, current_app, g, request

from api.context import principal, services
from api.tokens import claims_of
from domain.errors import NotAuthenticated, PermissionDenied
from domain.principal import Principal


def identify() -> None:
    """Before the limits: find out who calls. A bad token is remembered, and refused only where one is needed."""
    g.principal = None
    if request.method == "OPTIONS" or not request.headers.get("Authorization"):
        return
    try:
        g.principal = _principal_of_bearer()
    except NotAuthenticated as error:
        g.authentication_error = error


def enforce() -> None:
    """After the limits: refuse callers that the route does not admit."""
    view: Any = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.method == "OPTIONS" or getattr(view, "is_public", False):
        return
    if getattr(view, "is_for_metrics", False):
        _check_metrics_token()
        return
    if getattr(view, "accepts_ticket", False) and not request.headers.get("Authorization"):
        _redeem_ticket()
    caller = principal()
    if getattr(view, "is_admin_only", False) and not caller.is_admin:
        raise PermissionDenied("Only administrators may do this.")


def _check_metrics_token() -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected: str = current_app.config["METRICS_TOKEN"]
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), expected.encode()):
        raise NotAuthenticated("Send Authorization: Bearer and the token for metrics.")


def _redeem_ticket() -> None:
    """Here, after the limits: guessing tickets is limited by address, and a refusal by the limit spends none."""
    ticket, session_id = request.args.get("ticket"), (request.view_args or {}).get("session_id")
    if ticket and session_id:
        g.principal = services().auth.redeem_ticket(ticket, session_id)


def _principal_of_bearer() -> Principal:
    scheme, _, token = request.headers["Authorization"].partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated("Send Authorization: Bearer and the access token.", "invalid_token")
    claims = claims_of(token.strip(), "access")
    return services().auth.authenticate(sign_in_id=claims["sid"], user_id=claims["sub"])


def init_authentication(app: Flask, secret_key: str, access_ttl_s: int, metrics_token: str) -> None:
    """Set up tokens: HS256 only, with issuer, audience and type checked."""
    app.config.update(
        METRICS_TOKEN=metrics_token,
        JWT_SECRET_KEY=secret_key,
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_ENCODE_ISSUER="unichat",
        JWT_DECODE_ISSUER="unichat",
        JWT_ENCODE_AUDIENCE="unichat",
        JWT_DECODE_AUDIENCE="unichat",
        JWT_ACCESS_TOKEN_EXPIRES=access_ttl_s,
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ERROR_MESSAGE_KEY="error",
    )
    jwt.JWTManager(app)
