"""The client's end of a connection during an answer: sending, and pauses that end at once when the client leaves."""

from __future__ import annotations

import struct
import time
from typing import Any

import gevent
from gevent import socket
from greenlet import greenlet

READABLE = 1
FOREVER_S = 10.0**7


class ClientClosedError(Exception):
    """The client closed or reset the connection before the answer was over."""


class StoppedError(Exception):
    """A stop call for this answer came in."""


class Peer:
    """Sends bytes to a client, and watches its socket between them.

    `closed_at` is the monotonic time in seconds at which the client's close was seen, None while it is there.
    """

    def __init__(self, sock: socket.socket, tls: bool) -> None:
        self.sock = sock
        self.closed_at: float | None = None
        self.stopped = False
        self._tls = tls
        self._sleeper: greenlet | None = None
        self._watcher: Any = None

    def watch(self) -> None:
        """Start to watch for the client's close."""
        self._watcher = gevent.get_hub().loop.io(self.sock.fileno(), READABLE)
        self._watcher.start(self._readable)

    def unwatch(self) -> None:
        """Stop watching and free the watcher."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    def pause(self, seconds: float | None) -> None:
        """Wait; None means until something happens. Raises ClientClosedError or StoppedError the moment it does."""
        # A plain sleep that is broken by a throw: half the cost of waiting for an Event, and there is one per token.
        self.check()
        self._sleeper = gevent.getcurrent()
        try:
            gevent.sleep(FOREVER_S if seconds is None else seconds)
        finally:
            self._sleeper = None
        self.check()

    def check(self) -> None:
        """Raise ClientClosedError or StoppedError if that is so."""
        if self.closed_at is not None:
            raise ClientClosedError
        if self.stopped:
            raise StoppedError

    def stop(self) -> None:
        """Make the next pause raise StoppedError, also one that is under way in another greenlet."""
        self.stopped = True
        self._wake(StoppedError)

    def resume(self) -> None:
        """Allow more to be sent after a stop."""
        self.stopped = False

    def send(self, data: bytes) -> None:
        """Send everything. Raises ClientClosedError when the connection is gone."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self._note_close()
            raise ClientClosedError from error

    def reset(self) -> None:
        """Close with an RST instead of a FIN."""
        self.unwatch()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """Send FIN and keep the receiving side open."""
        self.sock.shutdown(socket.SHUT_WR)

    def _readable(self) -> None:
        # Runs in the hub, so nothing here may block. Over TLS a client sends nothing in mid-answer but its
        # closing alert, which cannot be peeked at decrypted: readable means closed there.
        try:
            # The inner socket: gevent's own recv would wait.
            data = b"" if self._tls else self.sock._sock.recv(1, socket.MSG_PEEK)  # type: ignore[attr-defined]
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._watcher.stop()
        if not data:
            self._note_close()

    def _note_close(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()
            self._wake(ClientClosedError)

    def _wake(self, error: type[Exception]) -> None:
        # In a later turn of the loop, when the sleeper may have woken by itself: then it sees the mark it checks.
        gevent.get_hub().loop.run_callback(lambda: self._sleeper and self._sleeper.throw(error))
