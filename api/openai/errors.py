"""Faults in the words of OpenAI's protocol."""

from http import HTTPStatus

import msgspec

from api.faults import Fault

_INVALID = "invalid_request_error"
_QUOTA = "insufficient_quota"
_CODES = {
    "budget_exceeded": _QUOTA,
    "content_filtered": "content_filter",
    "context_too_long": "context_length_exceeded",
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_FIXED_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}  # clients look at these


class ChatCompletionsFault(msgspec.Struct):
    """What is wrong: ``type`` is the kind, ``code`` the reason, ``param`` the field of the request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ChatCompletionsError(msgspec.Struct):
    """The body of every failure, and the event that ends a stream which has failed."""

    error: ChatCompletionsFault


def chat_completions_shape(fault: Fault) -> tuple[int, bytes]:
    """The status and the body. The protocol has one status for all that is wrong with a request: 400."""
    status = HTTPStatus.BAD_REQUEST if fault.status == HTTPStatus.UNPROCESSABLE_ENTITY else fault.status
    code = _CODES.get(fault.code) or _FIXED_CODES.get(status, fault.code)
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _TYPES.get(status, _INVALID)
    param = fault.fields[0] if fault.fields else None
    body = ChatCompletionsFault(fault.message, _QUOTA if code == _QUOTA else kind, param, code)
    return int(status), msgspec.json.encode(ChatCompletionsError(body))
