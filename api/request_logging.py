"""Request ids, and one log line for each request: when its last byte is sent, with the time to its first."""

import re
import time
from collections.abc import Iterable, Iterator
from functools import partial

import structlog
from flask import Flask, Response, g, request

from api.context import client_address, optional_principal
from domain.identifiers import new_id

log = structlog.get_logger()

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def init_request_logging(app: Flask) -> None:
    """Give each request an id, return it, and log the request. Bodies and query strings are never logged."""

    @app.before_request
    def _begin() -> None:
        g.started = time.perf_counter()
        offered = request.headers.get("X-Request-Id", "")
        g.request_id = offered if _ACCEPTED_ID.fullmatch(offered) else new_id("req")
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def _answer(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        line = _Line(response.status_code)
        if response.is_streamed:
            source = response.response
            response.response = line.watch(response.iter_encoded(), source)
            response.call_on_close(partial(_close, source))  # a body that is never begun has no end either
        response.call_on_close(line.write)
        return response


class _Line:
    """The log line of one request; it takes what it needs while the request is there."""

    def __init__(self, status: int) -> None:
        caller = optional_principal()
        self._started: float = g.started
        self._first_byte: float | None = None
        self._fields = {
            "request_id": g.request_id,
            "method": request.method,
            "path": request.path,
            "route": request.url_rule.rule if request.url_rule else None,
            "status": status,
            "code": g.get("error_code"),
            "user_id": caller.user_id if caller else None,
            "address": client_address(),
        }

    def watch(self, body: Iterable[bytes], source: object) -> Iterator[bytes]:
        """The same body, which is read from ``source``; notes when its first piece goes out."""
        try:
            for piece in body:
                if self._first_byte is None:
                    self._first_byte = time.perf_counter()
                yield piece
        finally:
            _close(body)
            _close(source)

    def write(self) -> None:
        """The response is over, or its client has gone."""
        now = time.perf_counter()
        first = self._first_byte or now
        log.info(
            "request",
            **self._fields,
            duration_ms=round((now - self._started) * 1000, 2),
            ttft_ms=round((first - self._started) * 1000, 2),
        )


def _close(source: object) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
