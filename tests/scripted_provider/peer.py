"""The client's end of one connection while an answer is being sent: pacing that notices at once when the client leaves."""

from __future__ import annotations

import struct
import time
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event

READABLE = 1


class ClientClosed(Exception):
    """The client closed or reset the connection before the answer was over."""


class Stopped(Exception):
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
        self._wake = Event()
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
        """Wait; None means until something happens. Raises ClientClosed or Stopped the moment it does."""
        self._wake.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raise ClientClosed or Stopped if that is so."""
        if self.closed_at is not None:
            raise ClientClosed
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        """Make the next pause raise Stopped, also one that is under way in another greenlet."""
        self.stopped = True
        self._wake.set()

    def resume(self) -> None:
        """Allow more to be sent after a stop."""
        self.stopped = False
        if self.closed_at is None:
            self._wake.clear()

    def send(self, data: bytes) -> None:
        """Send everything. Raises ClientClosed when the connection is gone."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self._note_close()
            raise ClientClosed from error

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
            data = self.sock._sock.recv(1, socket.MSG_PEEK) if not self._tls else b""
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
            self._wake.set()
