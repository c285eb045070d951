"""Limits on what may come in, and headers on what goes out."""

from typing import Any

import msgspec
from flask import Flask, Response, current_app, request
from flask.globals import request_ctx
from flask.json.provider import JSONProvider
from flask_cors.core import get_cors_options, set_cors_headers
from werkzeug.middleware.proxy_fix import ProxyFix

from domain.errors import AppError

_EXPOSED = [
    "Idempotent-Replayed",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Generation-Id",
    "X-Request-Id",
    "X-Session-Id",
    "X-UniChat-Overhead-Ms",
    "X-UniChat-Route",
]
_WITH_BODY = ("POST", "PUT", "PATCH")
_JSON = "application/json"
_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY"))
_USUAL = {  # unless a route says otherwise
    "content-security-policy": ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    "cache-control": ("Cache-Control", "no-store"),
}


class UnsupportedMediaType(AppError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"


class MalformedJson(AppError):
    """The body is not a JSON object."""

    code = "invalid_json"


class MsgspecProvider(JSONProvider):
    """JSON by msgspec: several times faster than the standard library's, and strict about Unicode."""

    def dumps(self, obj: Any, **_: Any) -> str:
        """``obj`` as JSON text."""
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """The value of JSON text. Raises ValueError for anything else, too deep nesting included."""
        try:
            return msgspec.json.decode(s)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def init_hardening(app: Flask, *, max_body: int, trusted_proxies: int) -> None:
    """Bound bodies (bytes), trust exactly that many proxies, and send security headers."""
    app.json = MsgspecProvider(app)
    app.config.update(MAX_CONTENT_LENGTH=max_body, MAX_FORM_MEMORY_SIZE=512 * 1024, MAX_FORM_PARTS=50)
    if trusted_proxies:
        count = trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]  # the documented way

    @app.after_request
    def _headers(response: Response) -> Response:
        headers = response.headers
        there = {name.lower() for name, _ in headers}
        for name, value in _ALWAYS:
            headers.add(name, value)
        for lower_name, (name, value) in _USUAL.items():
            if lower_name not in there:
                headers.add(name, value)
        if request.is_secure:
            headers.add("Strict-Transport-Security", "max-age=31536000")
        return response


def init_cors(app: Flask, origins: list[str]) -> None:
    """Cross-origin calls: from the listed origins with credentials, or from any without."""
    options = get_cors_options(
        app,
        {
            "origins": origins or "*",
            "supports_credentials": bool(origins),
            "send_wildcard": not origins,
            "expose_headers": _EXPOSED,
            "max_age": 600,
        },
    )

    @app.after_request
    def _allow(response: Response) -> Response:
        # Not the extension's own hook: that one works out an answer for programs too, which ask nothing.
        return set_cors_headers(response, options) if "HTTP_ORIGIN" in request.environ else response


def require_json() -> None:
    """Before the handler: a body must be a JSON object, and must say that it is JSON.

    Raises :class:`UnsupportedMediaType` or :class:`MalformedJson`. The parsed body is kept for the handler. Routes that
    speak a protocol of others look into theirs themselves.
    """
    asked, rule = request_ctx.request, request_ctx.request.url_rule  # one look-up for all of it
    if rule is None or asked.method not in _WITH_BODY:
        return
    if asked.content_length is None:
        if "HTTP_TRANSFER_ENCODING" not in asked.environ:
            return
        _refuse_cut_body()
    elif not asked.content_length:
        return
    if asked.environ.get("CONTENT_TYPE") != _JSON and not asked.is_json:
        raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
    if hasattr(current_app.view_functions[rule.endpoint], "protocol"):
        return  # it reads its body itself
    if not isinstance(asked.get_json(silent=True), dict):
        raise MalformedJson("The body is not a JSON object.")


def _refuse_cut_body() -> None:
    """A chunked body is read up to the limit and no further: raises RequestEntityTooLarge when it was longer."""
    request.get_data()
    request.stream.read(1)
