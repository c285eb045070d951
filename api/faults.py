"""What went wrong with a request, before it is put in words: every protocol tells it in a body of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from api.hardening import MalformedJson, UnsupportedMediaType
from domain import errors

_STATUS: dict[type[errors.AppError], int] = {
    errors.AppError: 500,
    UnsupportedMediaType: 415,
    MalformedJson: 400,
    errors.InvalidInput: 422,
    errors.TooLarge: 413,
    errors.NotAuthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.LimitExceeded: 429,
    errors.BudgetExceeded: 429,
    errors.Unavailable: 503,
    errors.ProviderError: 502,
    errors.ProviderRejected: 422,
    errors.ModelNotFound: 404,
    errors.ProviderRateLimited: 429,
    errors.ProviderUnavailable: 503,
    errors.ProviderTimeout: 504,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """``status`` and ``code`` are those of the native API; ``fields`` name what is wrong in the request."""

    status: int
    code: str
    message: str
    fields: tuple[str, ...] = ()
    request_id: str = ""


ErrorShape = Callable[[Fault], tuple[int, bytes]]
"""How a protocol tells a fault: its own status, and the JSON of its body."""


def status_of(error: errors.AppError) -> int:
    """The HTTP status of one of our errors: that of its nearest ancestor in the table."""
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def fault_of(error: errors.AppError, request_id: str = "") -> Fault:
    """One of our errors as a fault."""
    return Fault(status_of(error), error.error_code, error.message, getattr(error, "fields", ()), request_id)
