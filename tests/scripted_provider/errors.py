"""Error bodies in the shape of each protocol, chosen by status and by a neutral error name."""

from __future__ import annotations

from typing import Any, NamedTuple

from .anthropic_wire import error_object
from .wire import encode


class Shape(NamedTuple):
    """One error: OpenAI's type, code and parameter, DashScope's code, Dify's code, and the text."""

    openai_type: str
    openai_code: str | None
    dashscope: str
    dify: str
    message: str
    param: str | None = None


BY_NAME: dict[str, Shape] = {
    "context_length_exceeded": Shape(
        "invalid_request_error",
        "context_length_exceeded",
        "InvalidParameter",
        "completion_request_error",
        "This model's maximum context length is 8192 tokens. Range of input length should be [1, 8192]",
        "messages",
    ),
    "content_filter": Shape(
        "invalid_request_error",
        "content_filter",
        "DataInspectionFailed",
        "completion_request_error",
        "Input data may contain inappropriate content.",
    ),
    "model_not_found": Shape(
        "invalid_request_error", "model_not_found", "ModelNotFound", "bad_request", "The model does not exist."
    ),
    "insufficient_quota": Shape(
        "insufficient_quota", "insufficient_quota", "Arrearage", "rate_limit_error", "You exceeded your current quota."
    ),
    "conversation_not_exists": Shape(
        "invalid_request_error", "not_found", "NotFound", "not_found", "Conversation Not Exists."
    ),
}
BY_STATUS: dict[int, Shape] = {
    400: Shape("invalid_request_error", None, "InvalidParameter", "invalid_param", "The request is invalid."),
    401: Shape(
        "invalid_request_error", "invalid_api_key", "InvalidApiKey", "unauthorized", "Invalid API key provided."
    ),
    403: Shape("permission_error", "permission_denied", "AccessDenied", "forbidden", "Access denied."),
    404: Shape("invalid_request_error", "not_found", "NotFound", "not_found", "Not found."),
    408: Shape("timeout_error", "timeout", "RequestTimeOut", "request_timeout", "The request timed out."),
    413: Shape("invalid_request_error", None, "InvalidParameter", "file_too_large", "The request is too large."),
    429: Shape(
        "requests", "rate_limit_exceeded", "Throttling.RateQuota", "too_many_requests", "Rate limit reached, try later."
    ),
    500: Shape("server_error", None, "InternalError", "internal_server_error", "An internal error has occurred."),
    502: Shape("server_error", None, "InternalError", "internal_server_error", "Bad gateway."),
    503: Shape("server_error", None, "ModelServingError", "internal_server_error", "Too many requests, overloaded."),
    504: Shape("server_error", None, "RequestTimeOut", "internal_server_error", "Gateway timeout."),
    529: Shape("overloaded_error", "overloaded", "Throttling", "internal_server_error", "Overloaded."),
}
STATUS_OF = {"model_not_found": 404, "insufficient_quota": 429, "conversation_not_exists": 404}


def error_body(protocol: str, status: int, name: str = "", message: str = "", request_id: str = "") -> bytes:
    """The JSON body of an error. An unknown name becomes the code as it is."""
    if protocol == "anthropic":
        return encode(error_object(status, name, message, request_id))
    shape = BY_NAME.get(name) or BY_STATUS.get(status) or BY_STATUS[500 if status >= 500 else 400]
    text = message or shape.message
    custom = name if name and name not in BY_NAME else None
    body: dict[str, Any]
    if protocol == "dashscope":
        body = {"code": custom or shape.dashscope, "message": text, "request_id": request_id}
    elif protocol == "dify":
        body = {"code": custom or shape.dify, "message": text, "status": status}
    else:
        code = custom or shape.openai_code
        body = {"error": {"message": text, "type": shape.openai_type, "param": shape.param, "code": code}}
    return encode(body)
