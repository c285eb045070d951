"""A TCP cable that can be cut and mended: how a server is away for those who reach it through the cable."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Literal, Self

Way = Literal["request", "reply"]


class Cable:
    """Forwards connections on ``port`` to a local port. While it is cut, there is nothing behind it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, and hang up on new ones."""
        with self._lock:
            self._is_cut = True
            for end in self._open:
                _shut(end)

    def mend(self) -> None:
        """Forward again."""
        with self._lock:
            self._is_cut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cut()
        _shut(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end of the cable
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as far:
            ends = {near, far}
            with self._lock:
                if self._is_cut:
                    return
                self._open |= ends
            back = threading.Thread(target=self._pass_on, args=(far, near, "reply"), daemon=True)
            back.start()
            self._pass_on(near, far, "request")
            back.join()
            with self._lock:
                self._open -= ends

    def _pass_on(self, source: socket.socket, target: socket.socket, way: Way) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and self._lets_pass(way):
                target.sendall(data)
        _shut(source)
        _shut(target)

    def _lets_pass(self, way: Way) -> bool:
        """Whether the next piece of a connection is forwarded; if not, the connection is broken instead of that."""
        return True


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
