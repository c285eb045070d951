"""Request ids, and the account of each request when its last byte is sent: a log line, and what observers count."""

import re
import time
from collections.abc import Callable, Iterable
from typing import cast

import structlog
from flask import Flask, Response, g, request
from flask.globals import app_ctx, request_ctx

from api.context import optional_principal
from domain.identifiers import new_id
from domain.observer import Observer, RequestEnd
from services.completion_service import Completion
from services.operation_service import Performance

log = structlog.get_logger()

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def init_request_logging(app: Flask, observer: Observer) -> None:
    """Give each request an id, return it, log and count the request. Bodies and query strings are never logged."""

    @app.before_request
    def _begin() -> None:
        here, headers = app_ctx.g, request.headers
        here.started = time.perf_counter()
        offered = headers.get("X-Request-Id", "")
        here.request_id = identity = offered if _ACCEPTED_ID.fullmatch(offered) else new_id("req")
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=identity)
        observer.request_began(headers.get("traceparent"))

    @app.after_request
    def _answer(response: Response) -> Response:
        response.headers.add("X-Request-Id", g.request_id)
        account = _Account(response, observer)
        if response.is_streamed:
            response.response = body = _Body(response, account)
            if account.is_stream and request.method != "HEAD":
                # The server reads it without werkzeug in between, which every event would go through.
                response.direct_passthrough = True
            if response.direct_passthrough:
                body.ended = response.close  # werkzeug does not hear of its end
        response.call_on_close(account.close)
        return response


class _Account:
    """The account of one request; it takes what it needs while the request is there."""

    def __init__(self, response: Response, observer: Observer) -> None:
        asked, here, caller = request_ctx.request, app_ctx.g, optional_principal()  # one look-up for all of it
        self._request_id: str = here.request_id
        self._started: float = here.started
        self._first_byte: float | None = None
        self._observer = observer
        self.is_stream = response.is_streamed and response.mimetype == "text/event-stream"
        self._route = asked.url_rule.rule if asked.url_rule else None
        self._method, self._status, self._code = asked.method, response.status_code, here.get("error_code")
        self._fields = {
            "request_id": self._request_id,
            "method": self._method,
            "path": asked.path,
            "route": self._route,
            "status": self._status,
            "code": self._code,
            "user_id": caller.user_id if caller else None,
            "key_id": caller.key.id if caller and caller.key else None,
            "address": asked.remote_addr or "unknown",
        }
        self._answer: Completion | Performance | None = here.get("completion")

    def body_began(self) -> None:
        """Its first piece is asked for."""
        if self.is_stream:
            self._observer.stream_began(self._route or "")

    def first_piece(self) -> None:
        """It goes out."""
        self._first_byte = time.perf_counter()

    def body_ended(self) -> None:
        """A body that has begun is over."""
        if self.is_stream:
            self._observer.stream_ended(self._route or "")

    def close(self) -> None:
        """The response is over, or its client has gone."""
        now = time.perf_counter()
        seconds, first_byte_s = now - self._started, (self._first_byte or now) - self._started
        if self._answer is not None:
            self._fields.update(_told(self._answer))
        log.info("request", **self._fields, duration_ms=round(seconds * 1000, 2), ttft_ms=round(first_byte_s * 1000, 2))
        told = first_byte_s if self.is_stream else None
        self._observer.request_ended(
            RequestEnd(self._request_id, self._route, self._method, self._status, self._code, seconds, told)
        )


def _told(answer: Completion | Performance) -> dict[str, str | float | None]:
    """What of an answer that nothing is stored of is for the log."""
    return {
        "generation_id": answer.id,
        "model": answer.public_model,
        "targets": answer.upstream.route,
        "end_reason": answer.end_reason,
        "error_code": answer.error.error_code if answer.error else None,
        **answer.upstream.times,
    }


class _Body:
    """The body of a response that is read piece by piece. ``ended`` is called when it is closed."""

    __slots__ = ("_account", "_began", "_closed", "_pieces", "_sent", "_source", "ended")

    def __init__(self, response: Response, account: _Account) -> None:
        self._account = account
        self._source = response.response
        frames = cast("Iterable[bytes]", self._source)  # of a stream; what else there is may be text
        self._pieces = iter(frames) if account.is_stream else response.iter_encoded()
        self._began = self._sent = self._closed = False
        self.ended: Callable[[], None] | None = None

    def __iter__(self) -> "_Body":
        return self

    def __next__(self) -> bytes:
        try:
            if self._sent:
                return next(self._pieces)
            if not self._began:
                self._began = True
                self._account.body_began()
            piece = next(self._pieces)
        except StopIteration:
            self.close()
            raise
        self._sent = True
        self._account.first_piece()
        return piece

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._began:
            self._account.body_ended()
        _close(self._pieces)
        _close(self._source)
        if self.ended is not None:
            self.ended()


def _close(source: object) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
