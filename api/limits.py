"""Rate limits: every route has one, keyed by the caller, else by the client's address."""

import math
import time
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, request
from flask_limiter import Limiter

from api.context import client_address, optional_principal


def init_limits(app: Flask, limits: dict[str, str], redis_url: str) -> None:
    """Limit every route by its declared class.

    ``limits`` maps class to a limit in the notation of the *limits* library (``"60 per minute"``).
    Without Redis, or while it is down, each worker counts for itself.
    """
    fast: dict[str, Any] = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25} if redis_url else {}
    limiter = Limiter(
        key_func=_caller,
        default_limits=[lambda: limits[limit_class(request.endpoint)]],
        storage_uri=redis_url or "memory://",
        storage_options=fast,
        strategy="fixed-window",
        in_memory_fallback_enabled=bool(redis_url),
    )
    limiter.init_app(app)

    @app.after_request
    def _headers(response: Response) -> Response:
        limit = limiter.current_limit
        if limit is not None:
            reset = max(0, math.ceil(limit.reset_at - time.time()))
            response.headers["RateLimit-Limit"] = str(limit.limit.amount)
            response.headers["RateLimit-Remaining"] = str(max(0, limit.remaining))
            response.headers["RateLimit-Reset"] = str(reset)
            if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and limit.breached:
                response.headers["Retry-After"] = str(max(1, reset))
        return response


def limit_class(endpoint: str | None) -> str:
    """The limit class that the route declares."""
    view: Any = current_app.view_functions.get(endpoint or "")
    return getattr(view, "limit_class", "general")


def _caller() -> str:
    caller = optional_principal()
    return caller.user_id if caller else client_address()
