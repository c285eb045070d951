"""Faults in the words of Anthropic's protocol."""

from http import HTTPStatus

import msgspec

from api.faults import Fault

_OVERLOADED = 529  # the protocol's own status: come back in a moment
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}
_TOO_LONG = "prompt is too long"  # clients look for these words


class Details(msgspec.Struct):
    """The reason for programs: our stable code, which says more than the type."""

    error_code: str


class Reason(msgspec.Struct):
    """What is wrong, and of which kind it is."""

    type: str
    message: str
    details: Details


class ErrorOut(msgspec.Struct):
    """The body of every failure, and the event that ends a stream which has failed."""

    error: Reason
    request_id: str | None
    type: str = "error"


def messages_shape(fault: Fault) -> tuple[int, bytes]:
    """The status and the body. The protocol has one status for all that is wrong with a request: 400."""
    status = int(fault.status)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = 400
    elif fault.code == "provider_unavailable":
        status = _OVERLOADED
    usual = "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _TYPES[400]
    message = fault.message
    if fault.code == "context_too_long" and _TOO_LONG not in message:
        message = f"{_TOO_LONG}: {message}"
    reason = Reason(_TYPES.get(status, usual), message, Details(fault.code))
    return status, msgspec.json.encode(ErrorOut(reason, fault.request_id or None))
