"""Client and provider in one: what is sent next waits until the client has what was sent before, and the worker rests.

So every event travels alone, however slow the machine is, and the counts are the same each time.
"""

import json
import re
import select
import socket
from collections.abc import Callable
from typing import Any

from tests.hot_path.wires import Wire, piece, streamed_head, whole

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WAIT_S = 20
_READ = 1024 * 1024


class Peer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_WAIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.received = bytearray()

    def read(self) -> None:
        """What has come. Raises ``TimeoutError`` if nothing does."""
        data = self.socket.recv(_READ)
        assert data, f"hung up after {bytes(self.received[-600:])!r}"
        self.received += data

    def wait_for(self, text: bytes) -> None:
        """Return once it has been received."""
        while self.received.find(text, max(0, len(self.received) - _READ)) < 0:
            self.read()

    def take_message(self) -> bytes:
        """A whole request or response, which must be the next."""
        self.wait_for(b"\r\n\r\n")
        head = self.received.index(b"\r\n\r\n") + 4
        if found := _LENGTH.search(self.received, 0, head):
            size = head + int(found[1])
            while len(self.received) < size:
                self.read()
        else:
            while not self.received.endswith(b"\r\n0\r\n\r\n"):
                self.read()
            size = len(self.received)
        message = bytes(self.received[:size])
        del self.received[:size]
        return message


class Provider:
    """A provider's end: the node's connections to it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, Peer] = {}

    def next_request(self) -> Peer:
        """Who asks; the request is read."""
        while True:
            ready, _, _ = select.select([self._listener, *self._peers], [], [], _WAIT_S)
            assert ready, "the provider was not asked"
            for one in ready:
                if one is self._listener:
                    connection, _ = one.accept()
                    self._peers[connection] = Peer(connection)
                elif one.recv(1, socket.MSG_PEEK):
                    self._peers[one].take_message()
                    return self._peers[one]
                else:
                    self._peers.pop(one).socket.close()

    def close(self) -> None:
        """Hang up."""
        for one in (self._listener, *self._peers):
            one.close()


class Stage:
    """A client of a node, and the provider behind it. ``rest`` waits until the node's worker waits for something."""

    def __init__(self, port: int, key: str, provider: Provider, rest: Callable[[], None]) -> None:
        self._client = Peer(socket.create_connection(("127.0.0.1", port)))
        self._provider = provider
        self._key = key
        self._rest = rest

    def ask(self, path: str, body: dict[str, Any]) -> None:
        """Send a request."""
        data = json.dumps(body).encode()
        lines = {
            "host": "node",
            "authorization": f"Bearer {self._key}",
            "content-type": "application/json",
            "content-length": len(data),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._client.socket.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data)

    def answer_whole(self, wire: Wire, text: str) -> bytes:
        """Let the provider answer at once; the response."""
        self._asked()(whole(wire.whole(text)))
        return self._response()

    def answer_in_events(self, wire: Wire, texts: list[str], *, alone: bool) -> bytes:
        """Let the provider answer in events: each alone, or all of them in one piece; the response."""
        first, events, last = wire.events(texts)
        send = self._asked()
        if not alone:
            send(streamed_head() + b"".join(map(piece, (first, *events, last, b""))))
            return self._response()
        send(streamed_head() + piece(first))
        for event, text in zip(events, texts, strict=True):
            self._rest()
            send(piece(event))
            self._client.wait_for(text.encode())
        self._rest()
        send(piece(last) + piece(b""))
        return self._response()

    def close(self) -> None:
        """Hang up."""
        self._client.socket.close()

    def _asked(self) -> Callable[[bytes], None]:
        """What sends to who asks the provider, once the whole request is there."""
        asking = self._provider.next_request()
        self._rest()
        return asking.socket.sendall

    def _response(self) -> bytes:
        response = self._client.take_message()
        assert response.startswith(b"HTTP/1.1 200 "), response[:800]
        return response
