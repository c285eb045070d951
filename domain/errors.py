"""The one error tree. Foreign exceptions are mapped onto it where they are met; only the edge knows HTTP.

AppError(message, code)                   the message is for people, the code for programs
├── InvalidInput                          the request is wrong and stays wrong
│   ├── UnsupportedInput                  understood, but this model or provider cannot do it
│   └── TooLarge                          over a documented size
├── NotAuthenticated                      no credential, or one that does not count
├── PermissionDenied                      known, but not allowed
├── NotFound                              not there, or somebody else's
├── Conflict                              true at another moment, not now
├── LimitExceeded(retry_after)            too many requests
├── BudgetExceeded(retry_after)           a budget does not allow it, now or (without retry_after) ever again
├── Unavailable(retry_after)              we cannot serve this now
│   └── StorageFull                       there is no room to store it
└── ProviderError(provider, retryable, retry_after)
    ├── ProviderRejected                  the request's own fault: never retried, the reason is passed on
    │   ├── ContextTooLong
    │   ├── ContentFiltered
    │   └── ModelNotFound
    ├── ProviderDenied                    key refused, no credit, no right
    │   └── AddressNotAllowed             the egress guard lets nobody call this address
    ├── ProviderRateLimited               429
    ├── ProviderUnavailable               5xx, network, or the service says that it is overloaded
    ├── ProviderTimeout(stage)            one of the deadlines passed: connect, first_token, idle, total
    ├── ProviderGarbage                   the answer does not follow its protocol
    │   └── StreamUnsupported             it may well be an answer, but not a stream of events
    ├── UpstreamCut                       the answer ended without its protocol's end marker
    └── EmptyAnswer                       the answer is complete and says nothing
"""

from typing import ClassVar, Literal, TypeVar

from domain.api_keys import KeyStanding

Error = TypeVar("Error", bound="AppError")
Stage = Literal["connect", "first_token", "idle", "total"]


class AppError(Exception):
    """Anything that the caller is told. ``code`` is stable; ``message`` is one sentence without internals."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code


class InvalidInput(AppError):
    """The request is wrong; ``fields`` names what is wrong in it."""

    code = "invalid_request"

    def __init__(self, message: str, code: str | None = None, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, code)
        self.fields = fields


class UnsupportedInput(InvalidInput):
    """The request is well-formed, but the chosen model or provider cannot do it."""

    code = "unsupported_input"


class TooLarge(InvalidInput):
    """A documented size limit is passed."""

    code = "too_large"


class NotAuthenticated(AppError):
    """No credential, or one that is malformed, expired or revoked."""

    code = "not_authenticated"


class PermissionDenied(AppError):
    """The caller is known and may not do this."""

    code = "permission_denied"


class NotFound(AppError):
    """The thing does not exist for this caller; another user's thing gives the same answer."""

    code = "not_found"


class Conflict(AppError):
    """The state of things forbids it now."""

    code = "conflict"


class LimitExceeded(AppError):
    """Too many requests; ``retry_after`` is in seconds. ``standing``: of the API key whose limit it is."""

    code = "rate_limited"

    def __init__(
        self, message: str, code: str | None = None, *, retry_after: float = 1, standing: KeyStanding | None = None
    ) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after
        self.standing = standing


class BudgetExceeded(AppError):
    """What may be used is used up; ``retry_after`` is the seconds until there is more, None where that never is."""

    code = "budget_exceeded"

    def __init__(self, message: str, code: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


class Unavailable(AppError):
    """A part that this needs is out of service; ``retry_after`` is in seconds."""

    code = "unavailable"

    def __init__(self, message: str, code: str | None = None, *, retry_after: float = 5) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


class StorageFull(Unavailable):
    """The disk of the database is full. What is there can be read, and what runs is saved when there is room again."""

    code = "storage_full"


class ProviderError(AppError):
    """A provider failed. ``retryable``: the same request may succeed later; ``retry_after`` in seconds, if it said."""

    code = "provider_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, code: str | None = None, *, provider: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, code)
        self.provider = provider
        self.retry_after = retry_after


class ProviderRejected(ProviderError):
    """The provider refuses this very request; its reason is in the message."""

    code = "provider_rejected"


class ContextTooLong(ProviderRejected):
    """The prompt does not fit the model's window."""

    code = "context_too_long"


class ContentFiltered(ProviderRejected):
    """The provider's moderation refused the prompt or the answer."""

    code = "content_filtered"


class ModelNotFound(ProviderRejected):
    """The provider has no such model."""

    code = "model_not_found"


class ProviderDenied(ProviderError):
    """The provider refused our credentials, or the account has no credit or right. The operator must act."""

    code = "provider_denied"


class AddressNotAllowed(ProviderDenied):
    """The provider's address is not public, and the operator has not allowed it: nothing was sent."""

    code = "address_not_allowed"


class ProviderRateLimited(ProviderError):
    """The provider answers 429."""

    code = "provider_rate_limited"
    retryable = True


class ProviderUnavailable(ProviderError):
    """The provider answers 5xx, is overloaded, or cannot be reached."""

    code = "provider_unavailable"
    retryable = True


class ProviderTimeout(ProviderError):
    """A deadline passed; ``stage`` says which."""

    code = "provider_timeout"
    retryable = True

    def __init__(self, message: str, stage: Stage, *, provider: str = "") -> None:
        super().__init__(message, provider=provider)
        self.stage: Stage = stage


class ProviderGarbage(ProviderError):
    """The answer does not follow the provider's own protocol."""

    code = "provider_garbage"
    retryable = True


class UpstreamCut(ProviderError):
    """The answer ended without its end marker: what came is kept, and never called complete."""

    code = "upstream_cut"
    retryable = True


class StreamUnsupported(ProviderGarbage):
    """The provider does not stream this answer. ``body`` is what came in its place, if that may be a whole answer."""

    code = "stream_unsupported"
    body: bytes = b""


class EmptyAnswer(ProviderError):
    """The provider finished without having said anything."""

    code = "empty_answer"
    retryable = True


def saved_failure(code: str, message: str) -> ProviderError:
    """The failure of a generation again, from what was saved of it."""
    if code == ProviderTimeout.code:
        return ProviderTimeout(message, "total")  # which deadline it was makes no difference any more
    if any(kind.code == code for kind in _with_descendants(InvalidInput)):
        return ProviderRejected(message, code)  # what no target could be sent
    kinds = _with_descendants(ProviderError)
    return next((kind for kind in kinds if kind.code == code), ProviderError)(message, code)


def _with_descendants(kind: type[Error]) -> list[type[Error]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _with_descendants(child))]
