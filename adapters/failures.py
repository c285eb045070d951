"""A provider's refusal, in the words of the error tree: status, headers and body in, one ``ProviderError`` out.

The reason that a provider gives is passed on only where the request is at fault, in one bounded line without our
credentials. Everywhere else it goes into the error's notes, for the log.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

import msgspec

from domain.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    ProviderDenied,
    ProviderError,
    ProviderGarbage,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
    StreamUnsupported,
)

_SHORTEST_SECRET = 6
MAX_REASON = 500
Codes = Mapping[str, type[ProviderError]]

# Codes and types that mean the same wherever they are used, in lower case. They say more than the status does.
COMMON_CODES: Codes = {
    "context_length_exceeded": ContextTooLong,
    "string_above_max_length": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "model_not_found": ModelNotFound,
    "model_not_exist": ModelNotFound,
    "invalid_api_key": ProviderDenied,
    "authentication_error": ProviderDenied,
    "permission_error": ProviderDenied,
    "insufficient_quota": ProviderDenied,
    "insufficient_balance": ProviderDenied,
    "billing_hard_limit_reached": ProviderDenied,
    "account_deactivated": ProviderDenied,
    "rate_limit_exceeded": ProviderRateLimited,
    "rate_limit_error": ProviderRateLimited,
    "rate_limit_reached_error": ProviderRateLimited,
    "server_error": ProviderUnavailable,
    "overloaded_error": ProviderUnavailable,
    "engine_overloaded_error": ProviderUnavailable,
    "service_unavailable": ProviderUnavailable,
    "internal_server_error": ProviderUnavailable,
    "invalid_request_error": ProviderRejected,
}

_STATUSES: Mapping[int, type[ProviderError]] = {
    401: ProviderDenied,
    402: ProviderDenied,
    403: ProviderDenied,
    408: ProviderUnavailable,
    409: ProviderUnavailable,
    425: ProviderUnavailable,
    429: ProviderRateLimited,
}

_ERROR_STATUSES = range(400, 600)

# Only for providers without a code of their own for it.
_CONTEXT = re.compile(
    r"maximum context length|context (length|window|size)|prompt is too long|input length should be|too many tokens"
    r"|exceeds?( the)?( model'?s)? (max|limit)\w*.{0,30}tokens",
    re.IGNORECASE,
)
_FILTER = re.compile(r"inappropriate content|content (management )?policy|content filter", re.IGNORECASE)
_NO_STREAM = re.compile(
    r"stream(ing)?\b.{0,60}\b(not|un)[ -]?(supported|available|allowed)|verified to stream", re.IGNORECASE
)
_CREDIT = re.compile(r"(credit )?balance is too low|insufficient (credit|balance|funds)", re.IGNORECASE)
_MODEL = re.compile(r"\bmodels?\b", re.IGNORECASE)
_BY_TEXT: Sequence[tuple[re.Pattern[str], type[ProviderError]]] = (
    (_CONTEXT, ContextTooLong),
    (_FILTER, ContentFiltered),
    (_NO_STREAM, StreamUnsupported),
    (_CREDIT, ProviderDenied),
)
_KEY_SHAPED = re.compile(r"\b(?:sk|pk|app|ak|key)-[\w*.-]{6,}")

_SENTENCES: Mapping[type[ProviderError], str] = {
    ContextTooLong: "The session does not fit into the model's context window",
    ContentFiltered: "The provider's content filter refused this",
    ModelNotFound: "The provider does not have this model",
    ProviderRejected: "The provider refused the request",
    ProviderDenied: "The provider refuses the configured account.",
    ProviderRateLimited: "The provider receives too many requests at the moment.",
    ProviderUnavailable: "The provider is overloaded or out of service.",
    ProviderGarbage: "The provider's answer could not be understood.",
    StreamUnsupported: "The provider does not stream this answer.",
}


@dataclass(frozen=True, slots=True)
class _Reason:
    text: str = ""
    codes: tuple[str, ...] = ()
    status: int | None = None


class FailureMap:
    """Maps one provider's failures.

    ``codes`` are its own codes in lower case, on top of the common ones; a code with a dot in it is also looked up by
    what stands before the dot. ``secrets`` are never let through in a reason.
    """

    def __init__(self, secrets: Sequence[str] = (), codes: Codes | None = None) -> None:
        # A key of a few letters (servers without keys take any) is no secret, and would blank out every reason.
        long_enough = (secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
        self._secrets = sorted(long_enough, key=len, reverse=True)
        self._codes = {**COMMON_CODES, **(codes or {})}

    def from_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """The error for an answer whose status is not 2xx. ``headers`` may be looked up in any case."""
        reason = _read(body)
        return self._build(self._classify(status, reason), reason, status, retry_after(headers))

    def from_event(self, data: bytes) -> ProviderError:
        """The error for an event (or a body) that reports one although the status was 200."""
        reason = _read(data)
        return self._build(self._classify(reason.status, reason), reason, reason.status, None)

    def from_text(self, text: str) -> ProviderError:
        """The error for a failure that the provider describes in words only."""
        reason = _Reason(text)
        return self._build(self._classify(None, reason), reason, None, None)

    def from_json_answer(self, body: bytes) -> ProviderError:
        """The error for JSON where an event stream was asked for: a failure that it reports, or a whole answer."""
        reason = _read(body)
        if reason.text or reason.codes:
            return self.from_event(body)
        error = self.unstreamed("JSON instead of a stream")
        error.body = body
        return error

    def garbage(self, what: str) -> ProviderGarbage:
        """The error for an answer that is not what its protocol says; ``what`` goes to the log."""
        error = ProviderGarbage(_SENTENCES[ProviderGarbage])
        error.add_note(self._clean(what))
        return error

    def unstreamed(self, what: str) -> StreamUnsupported:
        """The error for an answer that is no event stream; ``what`` it is goes to the log."""
        error = StreamUnsupported(_SENTENCES[StreamUnsupported])
        error.add_note(self._clean(what))
        return error

    def _classify(self, status: int | None, reason: _Reason) -> type[ProviderError]:
        known = [self._codes[code] for code in reason.codes if code in self._codes]
        for error in known:
            # The type that says no more than "wrong request" must not hide a text that says why.
            if error is not ProviderRejected:
                return error
        if status in (None, 400, 413, 422):
            for pattern, error in _BY_TEXT:
                if pattern.search(reason.text):
                    return error
        if status == HTTPStatus.NOT_FOUND and _MODEL.search(reason.text):
            return ModelNotFound
        if status is None:
            return known[0] if known else ProviderUnavailable
        return _STATUSES.get(status) or _by_class(status)

    def _build(
        self, error: type[ProviderError], reason: _Reason, status: int | None, after: float | None
    ) -> ProviderError:
        text = self._clean(reason.text)
        message = next(_SENTENCES[base] for base in error.__mro__ if base in _SENTENCES)
        if issubclass(error, ProviderRejected):
            message += f": {text}" if text else "."
        built = error(message, retry_after=after)
        built.add_note(f"status {status}, codes {', '.join(reason.codes) or 'none'}: {text or 'no reason given'}")
        return built

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        # Before the cut: half a key at the end would not be recognised.
        text = _KEY_SHAPED.sub("[redacted]", " ".join(text.split()))
        return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait: ``retry-after-ms``, or ``retry-after`` as seconds or an HTTP date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    return _until(given) if given and seconds is None else seconds


def decode_or_fail(decode: Any, data: bytes, failures: FailureMap) -> Any:
    """``decode(data)`` by a msgspec decoder. Raises :class:`ProviderGarbage` when it is not what it should be."""
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _garbage(failures, error)


def _garbage(failures: FailureMap, error: Exception) -> NoReturn:
    raise failures.garbage(f"{type(error).__name__}: {error}") from error


def _by_class(status: int) -> type[ProviderError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable
    return ProviderRejected if status >= HTTPStatus.BAD_REQUEST else ProviderGarbage


def _until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _read(body: bytes) -> _Reason:
    """The reason in an error body of any of the shapes that are in use; an empty one in anything else."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return _Reason("" if text.startswith("<") else text)
    if isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, dict) and data.get("error"):
        data = data["error"] if isinstance(data["error"], dict) else {**data, "message": data["error"]}
    return _from_fields(data) if isinstance(data, dict) else _Reason(data if isinstance(data, str) else "")


def _from_fields(data: dict[str, Any]) -> _Reason:
    text = next((data[key] for key in ("message", "msg", "detail") if isinstance(data.get(key), str)), "")
    given = [data[key].lower() for key in ("code", "type") if isinstance(data.get(key), str)]
    details = data.get("details")
    if isinstance(details, dict) and isinstance(details.get("error_code"), str):
        given.insert(0, details["error_code"].lower())  # it says more than the type
    codes = tuple(code for full in given for code in dict.fromkeys((full, full.partition(".")[0])) if code)
    numbers = [
        value for key in ("status", "code") if isinstance(value := data.get(key), int) and value in _ERROR_STATUSES
    ]
    return _Reason(text, codes, numbers[0] if numbers else None)
