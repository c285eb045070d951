"""Errors at the edge: our tree, the framework's and anything else become one body with the right status."""

import math
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from flask import Flask, Response, current_app, g, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from api.anthropic.errors import messages_shape
from api.faults import ErrorShape, Fault, fault_of
from api.key_limit_headers import note_standing
from api.openai.errors import chat_completions_shape
from api.schemas import ApiError
from domain import errors

log = structlog.get_logger()

# Who asks below these addresses is told in the words of the protocol that is spoken there.
_SHAPES: Mapping[str, ErrorShape] = {
    "/v1/": chat_completions_shape,
    "/v1/messages/": messages_shape,
}
_HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def error_response(
    status: int, code: str, message: str, *, fields: tuple[str, ...] = (), retry_after: float | None = None
) -> Response:
    """The error body of the protocol that the request speaks; ``retry_after`` in seconds becomes the header."""
    return _response(Fault(status, code, message, fields, g.get("request_id", "")), retry_after)


def _response(fault: Fault, retry_after: float | None) -> Response:
    status, body = _shape_at(request.path)(fault)
    g.error_code = fault.code
    response = current_app.response_class(body, status, mimetype="application/json")
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _shape_at(path: str) -> ErrorShape:
    spoken = [address for address in _SHAPES if f"{path}/".startswith(address)]
    return _SHAPES[max(spoken, key=len)] if spoken else _native_shape


def _native_shape(fault: Fault) -> tuple[int, bytes]:
    fields = list(fault.fields) or None
    body = ApiError(error=fault.message, code=fault.code, request_id=fault.request_id, fields=fields)
    return fault.status, body.model_dump_json().encode()


def on_app_error(error: errors.AppError) -> Response:
    """One of ours."""
    fault = fault_of(error, g.get("request_id", ""))
    note_standing(getattr(error, "standing", None))
    if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", code=error.error_code, error=error.message)
    return _response(fault, getattr(error, "retry_after", None))


def on_validation_error(error: ValidationError) -> Response:
    """A body, query or path that does not fit its schema: every fault, none of the values."""
    faults = [
        (".".join(map(str, fault["loc"])) or "body", fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_input=False)
    ]
    message = "; ".join(f"{place}: {text}" for place, text in faults[:10])
    return error_response(422, "invalid_request", message, fields=tuple(place for place, _ in faults[:10]))


def _on_http_exception(error: HTTPException) -> Response:
    if error.response is not None:  # an answer that was made on purpose, as by on_validation_error
        return error.response  # type: ignore[return-value]  # werkzeug's type is the sans-io base
    status = error.code or 500
    response = error_response(status, _HTTP_CODES.get(status, "http_error"), error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            response.headers[name] = value
    return response


def _on_anything_else(error: Exception) -> Response:
    log.error("unhandled_error", path=request.path, error_type=type(error).__name__, exc_info=error)
    return error_response(500, "internal_error", "Something went wrong on our side.")


def init_errors(app: Flask) -> None:
    """Register the handlers; 404 and 405 of unknown addresses come here too."""
    app.register_error_handler(errors.AppError, on_app_error)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(Exception, _on_anything_else)
