"""The one way to a provider over HTTP: streams and small JSON requests, with deadlines, limits and an abort.

No proxy of the environment is used, no redirect followed, nothing is retried but one case: a kept-alive connection that
the server closed just when the request went out. Then no byte of an answer came, the server was seen to hang up, and
the request is sent once more on a new connection, as browsers do.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from urllib.parse import urlsplit

from adapters import dialing
from adapters.base_adapter import Guard, UpstreamCall
from adapters.connections import Answer, ProviderConnection, TlsConnection
from adapters.failures import FailureMap
from adapters.http_body import Body
from adapters.http_head import request_head
from adapters.idle_connections import IdleConnections
from adapters.network_failures import network_failure
from domain.errors import ProviderTimeout

MAX_ANSWER_BYTES = 64 * 1024 * 1024  # on the wire, where a token takes some 300 bytes
MAX_JSON_BYTES = 4 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 5  # for the body of an error, whose status is already known
_DRAIN_SECONDS = 0.1  # for the end of a body whose last event is already known
_SUCCESS = range(200, 300)
_EVENT_STREAM = "text/event-stream"
_HUNG_UP = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Transport:
    """HTTP to one base URL over kept-alive connections; safe for any number of threads or greenlets.

    ``headers`` go with every request, ``idle`` is how many unused connections are kept, ``tls`` replaces the trust in
    the system's certificates (``SSL_CERT_FILE`` works too). ``guard`` says where connections may lead.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        failures: FailureMap | None = None,
        tls: ssl.SSLContext | None = None,
        guard: Guard | None = None,
        idle: int = 32,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url must be an http or https address")
        self._host, self._secure = url.hostname, url.scheme == "https"
        usual = 443 if self._secure else 80
        self._port = url.port or usual
        self._path = url.path.rstrip("/")
        own = {"accept-encoding": "identity", "user-agent": "UniChat"}
        self._headers = {"host": _named(self._host, self._port, usual), **own, **_lower(headers)}
        self._failures = failures or FailureMap()
        self._given_tls = tls
        self._find = guard.addresses if guard is not None else dialing.addresses
        self._idle = IdleConnections(idle)
        self._max_answer_bytes = max_answer_bytes

    @contextmanager
    def post_stream(
        self, path: str, body: bytes, call: UpstreamCall, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[bytes]]:
        """POST JSON and lend the pieces of the event stream that answers, as they come.

        Entering and reading raise a :class:`ProviderError` for every failure. Leaving before the end of the body
        closes the connection; leaving normally gives the last bytes a moment to arrive, so that it can be kept.
        """
        request = self._request("POST", path, body, _EVENT_STREAM, headers)
        with _Lent(self._exchange(request, call), self._idle) as answer:
            self._check(answer)
            self._check_stream(answer)
            yield self._pieces(answer.body, call, self._max_answer_bytes)
            answer.hurry(_DRAIN_SECONDS)
            _read_some(answer.body)

    def request_json(
        self,
        method: str,
        path: str,
        call: UpstreamCall,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_JSON_BYTES,
    ) -> bytes:
        """The whole body of an answer of at most ``limit`` bytes, which should be JSON. Raises a ProviderError."""
        request = self._request(method, path, body, "application/json", headers)
        with _Lent(self._exchange(request, call), self._idle) as answer:
            self._check(answer)
            return b"".join(self._pieces(answer.body, call, limit))

    def close(self) -> None:
        """Close the connections that wait for a next call."""
        self._idle.clear()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Late, because reading the system's certificates takes 20 ms and a megabyte.
        return self._given_tls or ssl.create_default_context()

    def _request(
        self, method: str, path: str, body: bytes | None, accept: str, headers: Mapping[str, str] | None
    ) -> "_Request":
        own = {"accept": accept} if body is None else {"accept": accept, "content-type": "application/json"}
        given = _lower(headers) if headers else {}
        return _Request(method, self._path + path, {**own, **self._headers, **given}, body)

    def _exchange(self, request: "_Request", call: UpstreamCall) -> Answer:
        if kept := self._idle.pop():
            with suppress(_HungUpError):
                return _send(kept, request, call)
        return _send(self._connection(), request, call)

    def _connection(self) -> ProviderConnection:
        if self._secure:
            return TlsConnection(self._host, self._port, self._tls, self._find)
        return ProviderConnection(self._host, self._port, self._find)

    def _check(self, answer: Answer) -> None:
        head = answer.head
        if head.status not in _SUCCESS:
            answer.hurry(_ERROR_SECONDS)
            raise self._failures.from_response(head.status, head.headers, _read_some(answer.body))
        encoding = head.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            # It was told not to; and a small body that unpacks to a large one is an old trick.
            raise self._failures.garbage(f"content-encoding {encoding} although only identity is accepted")

    def _check_stream(self, answer: Answer) -> None:
        kind = answer.head.headers.get("content-type", "").strip().lower()
        if kind.startswith(_EVENT_STREAM):
            return
        if "json" not in kind:
            # A page is somebody else's: a proxy's, or a sign-in. Anything else may be an answer.
            failure = self._failures.garbage if "html" in kind else self._failures.unstreamed
            raise failure(f"content type {kind!r} instead of {_EVENT_STREAM}")
        answer.hurry(_ERROR_SECONDS)
        raise self._failures.from_json_answer(_read_some(answer.body, MAX_JSON_BYTES))

    def _pieces(self, body: Body, call: UpstreamCall, limit: int) -> Iterator[bytes]:
        left = limit
        while piece := _read(body, call):
            left -= len(piece)
            if left < 0:
                raise self._failures.garbage(f"the answer has more than {limit} bytes")
            yield piece
        if call.aborted:
            # A socket that was shut looks like a body that ended.
            raise network_failure(ConnectionAbortedError(), call, "reading")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None

    def head(self) -> bytes:
        return request_head(self.method, self.target, self.headers, None if self.body is None else len(self.body))


class _Lent:
    """An answer while it is read. At its end its connection is kept for the next one, if it can take any."""

    __slots__ = ("_answer", "_idle")

    def __init__(self, answer: Answer, idle: IdleConnections) -> None:
        self._answer = answer
        self._idle = idle

    def __enter__(self) -> Answer:
        return self._answer

    def __exit__(self, *_: object) -> None:
        if self._answer.finish():
            self._idle.push(self._answer.connection)


class _HungUpError(Exception):
    """A kept connection turned out to be closed by the server."""


def _send(connection: ProviderConnection, request: _Request, call: UpstreamCall) -> Answer:
    kept = connection.opened
    connection.lend(call)
    try:
        return connection.exchange(request.head(), request.body or b"")
    except BaseException as error:
        connection.take_back()
        connection.close()
        if not isinstance(error, Exception):
            raise
        if kept and not connection.received and not call.aborted and isinstance(error, _HUNG_UP):
            raise _HungUpError from error
        raise network_failure(error, call, "waiting" if connection.opened else "connecting") from error


def _read(body: Body, call: UpstreamCall) -> bytes:
    try:
        return body.read()
    except Exception as error:
        raise network_failure(error, call, "reading") from error


def _read_some(body: Body, limit: int = MAX_ERROR_BYTES) -> bytes:
    """What of the body comes before the limit (bytes), the deadline, or the first failure."""
    read = bytearray()
    with suppress(HTTPException, OSError, ProviderTimeout):
        while len(read) < limit and (piece := body.read()):
            read += piece
    return bytes(read[:limit])


def _named(host: str, port: int, usual: int) -> str:
    """The host as a request names it."""
    name = host.rstrip(".")
    name = f"[{name}]" if ":" in name else name if name.isascii() else name.encode("idna").decode()
    return name if port == usual else f"{name}:{port}"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
