"""Rate limits: every route has one, keyed by the caller, else by the client's address."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from flask import Flask, Response, current_app, g, request

from api.context import client_address, optional_principal
from domain.addresses import network_of
from domain.errors import LimitExceeded
from domain.rates import Rate, read_rates


class HitCounter(Protocol):
    """Counts hits per key and window, and never fails."""

    def add(self, key: str, window_s: int, amount: int = 1) -> int:
        """Count; how many there are now."""

    def ends_at(self, key: str) -> float:
        """When the window ends, as a Unix time."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the caller stands with the limit that this request tells of."""

    rate: Rate
    used: int
    ends_at: float


def init_limits(app: Flask, limits: Mapping[str, str], counter: HitCounter) -> None:
    """Limit every route by its declared class; the routes of a class share one allowance.

    ``limits`` maps class to its rates (``"60 per minute"``). Raises ValueError for what is none.
    """
    rates = {name: read_rates(text) for name, text in limits.items()}

    @app.before_request
    def _count() -> None:
        if request.url_rule is None or _is_exempt():
            return
        name, caller = limit_class(request.endpoint), _caller()
        for rate in rates[name]:
            key = f"rate/{name}/{rate.window_s}/{caller}"
            standing = _Standing(rate, counter.add(key, rate.window_s), counter.ends_at(key))
            if standing.used > rate.amount:
                g.rate = standing
                raise LimitExceeded(f"Too many requests: {rate.text}.", retry_after=1)
            if "rate" not in g:  # the shortest window tells most
                g.rate = standing

    @app.after_request
    def _headers(response: Response) -> Response:
        standing: _Standing | None = g.get("rate")
        if standing is not None:
            reset = max(0, math.ceil(standing.ends_at - time.time()))
            response.headers.add("RateLimit-Limit", str(standing.rate.amount))
            response.headers.add("RateLimit-Remaining", str(max(0, standing.rate.amount - standing.used)))
            response.headers.add("RateLimit-Reset", str(reset))
            if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and standing.used > standing.rate.amount:
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
    return has_limits or request.method == "OPTIONS"


def _caller() -> str:
    caller = optional_principal()
    return caller.user_id if caller else network_of(client_address())
