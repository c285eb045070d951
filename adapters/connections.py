"""Connections to one provider that obey a call's deadlines at every byte and end the moment the call is aborted."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from urllib3.connection import HTTPConnection
from urllib3.response import HTTPResponse

from adapters import dialing
from adapters.base_adapter import UpstreamCall
from adapters.http_body import Body
from domain.errors import UpstreamCut

_SEND_BYTES = 64 * 1024
_RECEIVE_BYTES = 64 * 1024
Find = Callable[[str, int, UpstreamCall, float], list[Any]]  # host, port, call, deadline -> what getaddrinfo gives


class ProviderConnection(HTTPConnection):
    """One kept-alive connection, lent to one call at a time.

    Every wait (name lookup, connect, handshake, send, each single receive) gets the time that the call has left, so
    neither comments nor single bytes extend a deadline. An abort shuts the socket below TLS, which wakes the waiter.
    ``find`` gives the addresses to be dialled, and may refuse.
    """

    def __init__(self, host: str, port: int, find: Find = dialing.addresses) -> None:
        super().__init__(host, port)
        self._find = find
        self.opened = False
        self.received = 0
        self.wait_at_most: float | None = None  # monotonic time after which nothing more is waited for
        self._call: UpstreamCall | None = None
        self._receiver: _Receiver
        # Kept apart from ``sock``, which urllib3 forgets early when the server will close the connection.
        self._socket: socket.socket | None = None
        self._guard = threading.Lock()

    def lend(self, call: UpstreamCall) -> None:
        """Tie the connection to ``call`` until :meth:`take_back`."""
        self.received = 0
        self.wait_at_most = None
        self._call = call
        call.on_abort(partial(self._shut, call))

    def take_back(self) -> bool:
        """End the tie; false if the call was aborted. A later abort of that call cannot hit the next one."""
        with self._guard:
            call, self._call = self._lender(), None
        call.on_abort(_nothing)  # nothing refers to this connection any more, and the call can be freed
        return not call.aborted

    def exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> "Answer":
        """Send a request and read the answer's head. Raises whatever the socket, TLS and HTTP layers raise."""
        if self.sock is None:
            self.connect()
        # A refusal may be on its way although the body was not read to its end.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.request(method, path, body, headers, preload_content=False, decode_content=False)
        response = self.getresponse()
        body_on_wire = Body(self._receiver.take, chunked=response.chunked, length=response.length_remaining)
        return Answer(response.status, response.headers, body_on_wire, self, response)

    def connect(self) -> None:
        """Open the connection within the call's connect deadline."""
        self.sock = self._open(time.monotonic() + self._lender().deadlines.connect)
        self.opened = True

    def send(self, data: Any) -> None:
        """Send ``data``, each piece within the call's deadlines."""
        view = memoryview(data)
        while view:
            self.arm()
            view = view[self.sock.send(view[:_SEND_BYTES]) :]

    def arm(self) -> None:
        """Give the socket the time that is left. Raises ProviderTimeout or TimeoutError when there is none."""
        seconds, _ = self._lender().remaining()
        if self.wait_at_most is not None:
            seconds = min(seconds, dialing.seconds_left(self.wait_at_most))
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def _open(self, deadline: float) -> socket.socket:
        host, port = self._dns_host, self.port
        addresses = self._find(host, port, self._lender(), deadline)
        self._lender().on_abort(partial(self._shut, self._lender()))
        failure = OSError(f"{host} has no address")
        for untried, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            sock = socket.socket(family, kind, protocol)
            try:
                # An address that swallows packets leaves time for the others.
                self._dial(sock, address, dialing.seconds_left(deadline) / untried)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failure

    def _dial(self, sock: socket.socket, address: Any, seconds: float) -> None:
        self._watch(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(seconds)
        try:
            sock.connect(address)
        finally:
            self._check_abort()  # which may look like an error, and may look like success

    def _watch(self, sock: socket.socket) -> None:
        """From here on an abort shuts ``sock``."""
        self._socket = sock
        self._check_abort()

    def _check_abort(self) -> None:
        if self._lender().aborted:
            raise UpstreamCut("The call was stopped.")

    def _shut(self, call: UpstreamCall) -> None:
        with self._guard:
            if self._call is not call or self._socket is None:
                return
            with suppress(OSError):  # not connected yet, or closed already
                # Not the socket's own method: that of a TLS socket drops the session under the reader's feet.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _lender(self) -> UpstreamCall:
        if self._call is None:
            raise RuntimeError("the connection is lent to nobody")
        return self._call

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """What http.client makes of an answer: its own response, over a receiver that knows the deadlines."""
        self._receiver = _Receiver(sock, self)
        return http.client.HTTPResponse(self._receiver, *args, **kwargs)  # type: ignore[arg-type]


class TlsConnection(ProviderConnection):
    """The same over TLS; the handshake is part of the connect deadline."""

    default_port: ClassVar[int] = 443  # type: ignore[misc]

    def __init__(self, host: str, port: int, context: ssl.SSLContext, find: Find = dialing.addresses) -> None:
        super().__init__(host, port, find)
        self._context = context

    def _open(self, deadline: float) -> socket.socket:
        plain = super()._open(deadline)
        try:
            # The handshake comes after the wrapping, so that an abort finds the socket that owns the descriptor.
            secured = self._context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        try:
            self._watch(secured)
            dialing.handshake(secured, deadline)
        except BaseException:
            secured.close()
            raise
        return secured


class _Receiver:
    """Receives for one answer: lines for http.client, which reads the head, then what comes for the body."""

    def __init__(self, sock: socket.socket, connection: ProviderConnection) -> None:
        self._socket = sock
        # Holds the descriptor open: urllib3 closes the socket early when the server will.
        self._hold = sock.makefile("rb", buffering=0)
        self._connection = connection
        self._ahead = b""

    def makefile(self, _mode: str) -> "_Receiver":
        return self

    def readline(self, limit: int) -> bytes:
        while (end := self._ahead.find(b"\n")) < 0 and len(self._ahead) < limit:
            if not (more := self._receive()):
                break
            self._ahead += more
        cut = min(end + 1, limit) if end >= 0 else limit
        line, self._ahead = self._ahead[:cut], self._ahead[cut:]
        return line

    def take(self) -> bytes:
        """What has come behind the head, then what comes next; empty at the end of the connection."""
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        return self._receive()

    def flush(self) -> None:
        """Do nothing: http.client takes this for a file."""

    def close(self) -> None:
        self._hold.close()

    def _receive(self) -> bytes:
        self._connection.arm()
        data = self._socket.recv(_RECEIVE_BYTES)
        self._connection.received += len(data)
        return data


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an HTTP answer, and its body to be read. ``headers`` may be looked up in any case."""

    status: int
    headers: Mapping[str, str]
    body: Body
    connection: ProviderConnection
    response: HTTPResponse

    def hurry(self, seconds: float) -> None:
        """From now on wait for the rest of the body no longer than ``seconds`` in all."""
        self.connection.wait_at_most = time.monotonic() + seconds

    def finish(self) -> bool:
        """End the exchange; true if its connection can take another one, otherwise it is closed."""
        with suppress(OSError):
            self.response.close()
        unharmed = self.connection.take_back() and self.body.complete and not self.body.surplus
        if not unharmed:
            self.connection.close()
        return unharmed and not self.connection.is_closed


def _nothing() -> None:
    pass
