"""Statuses, bodies and foreign exceptions in the words of the error tree."""

import http.client
import inspect
import json
import socket
import ssl
import time
from email.utils import formatdate
from typing import Any

import pytest
from urllib3 import exceptions as urllib3_errors

from adapters.base_adapter import Deadlines, UpstreamCall
from adapters.failures import COMMON_CODES, FailureMap, retry_after
from adapters.network_failures import _KINDS, kind_of, network_failure
from domain import errors

KEY = "sk-1234567890abcdef"


def exceptions_of(module: Any) -> list[type[Exception]]:
    members = inspect.getmembers(module, inspect.isclass)
    return [
        cls
        for _, cls in members
        if issubclass(cls, Exception) and not issubclass(cls, Warning) and cls.__module__ == module.__name__
    ]


@pytest.mark.parametrize("foreign", [*exceptions_of(urllib3_errors), *exceptions_of(http.client)])
def test_every_exception_of_the_http_layers_is_mapped_by_a_row_of_its_own(foreign: type[Exception]) -> None:
    bases = {urllib3_errors.HTTPError, http.client.HTTPException, OSError}
    rows = [cls for _, classes in _KINDS for cls in classes if issubclass(foreign, cls)]

    assert rows, f"{foreign} is not mapped"
    assert foreign in bases or rows[0] not in bases, f"{foreign} is only caught by its base"


@pytest.mark.parametrize(
    ("error", "phase", "expected"),
    [
        (TimeoutError(), "connecting", errors.ProviderTimeout),
        (socket.gaierror(), "connecting", errors.ProviderUnavailable),
        (ConnectionRefusedError(), "connecting", errors.ProviderUnavailable),
        (ssl.SSLCertVerificationError(), "connecting", errors.ProviderUnavailable),
        (ssl.SSLError(), "connecting", errors.ProviderUnavailable),
        (OSError(101, "network unreachable"), "connecting", errors.ProviderUnavailable),
        (http.client.RemoteDisconnected("gone"), "waiting", errors.ProviderUnavailable),
        (ConnectionResetError(), "waiting", errors.ProviderUnavailable),
        (http.client.BadStatusLine("x"), "waiting", errors.ProviderGarbage),
        (http.client.HTTPException("got more than 100 headers"), "waiting", errors.ProviderGarbage),
        (http.client.LineTooLong("header line"), "waiting", errors.ProviderGarbage),
        (urllib3_errors.IncompleteRead(1, 2), "reading", errors.UpstreamCut),
        (urllib3_errors.ProtocolError("broken", http.client.IncompleteRead(b"")), "reading", errors.UpstreamCut),
        (ConnectionResetError(), "reading", errors.UpstreamCut),
        (TimeoutError(), "reading", errors.ProviderTimeout),
    ],
)
def test_network_failures(error: Exception, phase: Any, expected: type[errors.ProviderError]) -> None:
    assert type(network_failure(error, UpstreamCall(Deadlines()), phase)) is expected


def test_what_is_no_network_failure_stays_what_it_is() -> None:
    bug = KeyError("a bug of ours")

    assert kind_of(bug) is None
    assert network_failure(bug, UpstreamCall(Deadlines()), "reading") is bug


def test_after_an_abort_every_failure_is_the_abort() -> None:
    call = UpstreamCall(Deadlines())
    call.abort()

    assert isinstance(network_failure(OSError(9, "bad file"), call, "reading"), errors.UpstreamCut)


def failure(status: int, body: Any, headers: dict[str, str] | None = None) -> errors.ProviderError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FailureMap([KEY]).from_response(status, headers or {}, raw)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "m"}}, errors.ContextTooLong),
        (400, {"error": {"message": "This model's maximum context length is 10 tokens"}}, errors.ContextTooLong),
        (400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9"}}, errors.ContextTooLong),
        (400, {"error": {"code": "content_filter"}}, errors.ContentFiltered),
        (404, {"error": {"message": "The model `x` does not exist"}}, errors.ModelNotFound),
        (404, {"detail": "Not Found"}, errors.ProviderRejected),
        (404, b"<html>nothing here</html>", errors.ProviderRejected),
        (401, b"", errors.ProviderDenied),
        (402, {"error": {"message": "Insufficient Balance"}}, errors.ProviderDenied),
        (403, {"error": "no"}, errors.ProviderDenied),
        (429, {"error": {"code": "insufficient_quota"}}, errors.ProviderDenied),
        (429, {"error": {"type": "insufficient_quota", "code": None}}, errors.ProviderDenied),
        (429, b"slow down", errors.ProviderRateLimited),
        (422, {"detail": [{"loc": ["body"]}]}, errors.ProviderRejected),
        (500, b"", errors.ProviderUnavailable),
        (503, b"\xff\xfe", errors.ProviderUnavailable),
        (529, [{"error": {"message": "overloaded"}}], errors.ProviderUnavailable),
        (400, b"[" * 60_000, errors.ProviderRejected),
        (301, b"", errors.ProviderGarbage),
        (307, b"", errors.ProviderGarbage),
        (103, b"", errors.ProviderGarbage),
    ],
)
def test_refusals(status: int, body: Any, expected: type[errors.ProviderError]) -> None:
    assert type(failure(status, body)) is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, errors.ProviderRateLimited),
        ({"error": {"code": 502, "message": "upstream"}}, errors.ProviderUnavailable),
        ({"error": {"type": "server_error"}}, errors.ProviderUnavailable),
        ({"error": {"type": "invalid_request_error", "message": "bad"}}, errors.ProviderRejected),
        ({"error": "something"}, errors.ProviderUnavailable),
        ({"code": "Throttling.RateQuota", "message": "m"}, errors.ProviderUnavailable),
        ({"code": "completion_request_error", "status": 400, "message": "m"}, errors.ProviderRejected),
    ],
)
def test_errors_inside_a_stream(data: Any, expected: type[errors.ProviderError]) -> None:
    assert type(FailureMap().from_event(json.dumps(data).encode())) is expected


def test_a_code_is_also_known_by_its_first_part() -> None:
    own = FailureMap(codes={"throttling": errors.ProviderRateLimited})

    assert isinstance(own.from_event(b'{"code": "Throttling.RateQuota"}'), errors.ProviderRateLimited)


def test_codes_are_written_as_they_are_looked_up() -> None:
    assert all(code == code.lower() for code in COMMON_CODES)


def test_the_reason_is_one_short_line_without_keys() -> None:
    error = failure(400, {"error": {"message": f"Bad\n  key {KEY} and sk-abc***def-xyz123! " + "y" * 5_000}})

    assert error.message.startswith("The provider refused the request: Bad key [redacted] and [redacted]")
    assert len(error.message) < 600


def test_a_denial_does_not_quote_the_provider_to_people() -> None:
    error = failure(401, {"error": {"message": "Incorrect API key provided: sk-12**** for org-secret"}})

    assert "org-secret" not in error.message
    assert "org-secret" in "".join(error.__notes__)


def test_retry_after() -> None:
    assert retry_after({"retry-after": "2"}) == 2
    assert retry_after({"retry-after": "0.5"}) == 0.5
    assert retry_after({"retry-after-ms": "250", "retry-after": "2"}) == 0.25
    assert retry_after({"retry-after": formatdate(time.time() + 20, usegmt=True)}) == pytest.approx(20, abs=2)
    assert retry_after({"retry-after": formatdate(time.time() - 20, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "-1"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None
    assert failure(429, {}, {"retry-after": "7"}).retry_after == 7
