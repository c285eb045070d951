"""Rate limits: every route has one, keyed by the caller, else by the client's address."""

import math
import time
from http import HTTPStatus
from typing import Any, Protocol

from flask import Flask, Response, current_app, request
from flask_limiter import Limit, Limiter
from limits.storage import Storage

from api.context import client_address, optional_principal
from domain.addresses import network_of


class HitCounter(Protocol):
    """Counts hits per key and window, and never fails."""

    def add(self, key: str, window_s: int, amount: int = 1) -> int:
        """Count; how many there are now."""

    def total(self, key: str) -> int:
        """How many there are."""

    def ends_at(self, key: str) -> float:
        """When the window ends, as a Unix time."""

    def forget(self, key: str) -> None:
        """Begin anew."""


class CounterStorage(Storage):
    """Lets Flask-Limiter count with ours."""

    STORAGE_SCHEME = ["unichat"]  # noqa: RUF012  # the library's registry reads it

    def __init__(
        self, uri: str, wrap_exceptions: bool = False, *, counter: HitCounter, **_: Any
    ) -> None:  # as in the base
        super().__init__(uri, wrap_exceptions)
        self._counter = counter

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """None: the counter does not fail."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count."""
        return self._counter.add(key, expiry, amount)

    def get(self, key: str) -> int:
        """How many there are."""
        return self._counter.total(key)

    def get_expiry(self, key: str) -> float:
        """When the window ends."""
        return self._counter.ends_at(key)

    def check(self) -> bool:
        """Whether it works: always."""
        return True

    def reset(self) -> None:
        """Not offered."""

    def clear(self, key: str) -> None:
        """Begin anew."""
        self._counter.forget(key)


def init_limits(app: Flask, limits: dict[str, str], counter: HitCounter) -> None:
    """Limit every route by its declared class; the routes of a class share one allowance.

    ``limits`` maps class to a limit in the notation of the *limits* library (``"60 per minute"``).
    """
    limiter = Limiter(
        key_func=_caller,
        default_limits=[
            Limit(
                lambda: limits[limit_class(request.endpoint)],
                scope=limit_class,
                shared=True,
                exempt_when=_is_exempt,
            )
        ],
        storage_uri="unichat://",
        storage_options={"counter": counter},  # type: ignore[dict-item]  # the library hands over whatever it gets
        strategy="fixed-window",
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


def _is_exempt() -> bool:
    """Browsers ask for OPTIONS by themselves, and cheaply; below ``/v1`` an API key's own limits are the ones."""
    caller = optional_principal()
    has_limits = caller is not None and caller.key is not None and request.path.startswith("/v1/")
    return request.method == "OPTIONS" or has_limits


def _caller() -> str:
    caller = optional_principal()
    return caller.user_id if caller else network_of(client_address())
