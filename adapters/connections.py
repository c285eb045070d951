"""Connections to one provider that obey a call's deadlines at every byte and end the moment the call is aborted."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from adapters import dialing
from adapters.base_adapter import UpstreamCall
from adapters.http_body import Body
from adapters.http_head import Head, read_head
from domain.errors import UpstreamCut

_SEND_BYTES = 64 * 1024
_RECEIVE_BYTES = 64 * 1024
Find = Callable[[str, int, UpstreamCall, float], list[Any]]  # host, port, call, deadline -> what getaddrinfo gives


class ProviderConnection:
    """One kept-alive connection, lent to one call at a time.

    Every wait (name lookup, connect, handshake, send, each single receive) gets the time that the call has left, so
    neither comments nor single bytes extend a deadline. An abort shuts the socket below TLS, which wakes the waiter.
    ``find`` gives the addresses to be dialled, and may refuse.
    """

    def __init__(self, host: str, port: int, find: Find = dialing.addresses) -> None:
        self.host = host
        self.port = port
        self.opened = False
        self.received = 0
        self.wait_at_most: float | None = None  # monotonic time after which nothing more is waited for
        self._find = find
        self._call: UpstreamCall | None = None
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

    def exchange(self, head: bytes, body: bytes) -> "Answer":
        """Send a request and read the answer's head. Raises whatever the socket, TLS and HTTP layers raise."""
        if not self.opened:
            self._socket = self._open(time.monotonic() + self._lender().deadlines.connect)
            self.opened = True
        # A refusal may be on its way although the body was not read to its end.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(head + body if len(body) < _SEND_BYTES else head)
            if len(body) >= _SEND_BYTES:
                self._send(body)
        answer, ahead = read_head(self._receive)
        body_on_wire = Body(self._receive, chunked=answer.chunked, length=answer.length, ahead=ahead)
        return Answer(answer, body_on_wire, self)

    def is_quiet(self) -> bool:
        """Whether it is open, and nothing has come since the last answer."""
        if self._socket is None:
            return False
        try:
            self._socket.settimeout(0)
            # Below TLS, like the shutdown: whatever has come there was not asked for.
            socket.socket.recv(self._socket, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close it, if it is open."""
        with self._guard:
            sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._arm().send(view[:_SEND_BYTES]) :]

    def _receive(self) -> bytes:
        data = self._arm().recv(_RECEIVE_BYTES)
        self.received += len(data)
        return data

    def _arm(self) -> socket.socket:
        """The socket, with the time that is left. Raises ProviderTimeout or TimeoutError when there is none."""
        seconds, _ = self._lender().remaining()
        if self.wait_at_most is not None:
            seconds = min(seconds, dialing.seconds_left(self.wait_at_most))
        if self._socket is None:
            raise ConnectionAbortedError
        self._socket.settimeout(seconds)
        return self._socket

    def _open(self, deadline: float) -> socket.socket:
        host, port = self.host, self.port
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


class TlsConnection(ProviderConnection):
    """The same over TLS; the handshake is part of the connect deadline."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, find: Find = dialing.addresses) -> None:
        super().__init__(host, port, find)
        self._context = context

    def _open(self, deadline: float) -> socket.socket:
        plain = super()._open(deadline)
        try:
            # The handshake comes after the wrapping, so that an abort finds the socket that owns the descriptor.
            name = self.host.rstrip(".")
            secured = self._context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
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


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an HTTP answer, and its body to be read."""

    head: Head
    body: Body
    connection: ProviderConnection

    def hurry(self, seconds: float) -> None:
        """From now on wait for the rest of the body no longer than ``seconds`` in all."""
        self.connection.wait_at_most = time.monotonic() + seconds

    def finish(self) -> bool:
        """End the exchange; true if its connection can take another one, otherwise it is closed."""
        unharmed = self.connection.take_back() and self.head.keeps and self.body.complete and not self.body.surplus
        if not unharmed:
            self.connection.close()
        return unharmed


def _nothing() -> None:
    pass
