"""Who is calling, for every route: a route is closed unless it declares itself public."""

import hmac
from typing import Any

import flask_jwt_extended as jwt
from flask import Flask, current_app, g, request
from flask.globals import request_ctx

from api.context import client_address, principal, services
from api.declarations import scope_of
from api.tokens import claims_of
from domain import key_format
from domain.errors import LimitExceeded, NotAuthenticated, PermissionDenied
from domain.principal import Principal

API_KEY = "x-api-key"  # the other header for keys, of Anthropic's clients


def identify() -> None:
    """Before the limits: find out who calls. A bad credential is remembered, and refused only where one is needed."""
    g.principal = None
    if request.method == "OPTIONS" or not _has_credential():
        return
    try:
        g.principal = _principal_of_credential()
    except (NotAuthenticated, PermissionDenied, LimitExceeded) as error:
        g.authentication_error = error


def enforce() -> None:
    """After the limits: refuse callers that the route does not admit."""
    asked = request_ctx.request  # one look-up for all of it
    view: Any = current_app.view_functions.get(asked.endpoint or "")
    if view is None or asked.method == "OPTIONS" or getattr(view, "is_public", False):
        return
    if getattr(view, "is_for_metrics", False):
        _check_metrics_token()
        return
    if getattr(view, "accepts_ticket", False) and not _has_credential():
        _redeem_ticket()
    caller, scope = principal(), scope_of(view, asked.path)
    if not caller.may(scope):
        raise PermissionDenied(f"The API key lacks the scope {scope}.", "scope_missing")
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


def _has_credential() -> bool:
    return bool(request.headers.get("Authorization") or request.headers.get(API_KEY))


def _principal_of_credential() -> Principal:
    """Of ``Authorization``, which holds an access token or an API key; else of the header for keys."""
    header = request.headers.get("Authorization")
    if not header:
        return services().api_keys.checker.authenticate(request.headers[API_KEY].strip(), client_address())
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated("Send Authorization: Bearer and the access token or an API key.", "invalid_token")
    token = token.strip()
    if token.startswith(key_format.START):
        return services().api_keys.checker.authenticate(token, client_address())
    claims = claims_of(token, "access")
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
