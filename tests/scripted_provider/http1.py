"""A small HTTP/1.1 reader and the response heads. Bytes in, bytes out; nothing is hidden from the caller."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import gevent
from gevent import socket

MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024
SLOW_STEPS_PER_S = 20


class BadRequestError(Exception):
    """The client did not speak HTTP/1.1."""


@dataclass(slots=True)
class Head:
    """Request line and headers. Header names are lower case; `query` keeps the last value of a repeated name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    keep_alive: bool


class RequestReader:
    """Reads requests one after another from a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def head(self) -> Head | None:
        """The next request's head, or None when the client closed between requests."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequestError("head too large")
            data = self._sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        raw = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        return _parse_head(raw)

    def body(self, head: Head, bytes_per_s: float = 0) -> bytes:
        """The request's body; with `bytes_per_s`, read no faster than that."""
        if head.headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._chunked_body()
        length = int(head.headers.get("content-length") or 0)
        if length > MAX_BODY:
            raise BadRequestError("body too large")
        while len(self._buffer) < length:
            self._more(bytes_per_s)
        return self._take(length)

    def _chunked_body(self) -> bytes:
        body = bytearray()
        while size := int(self._line().split(b";")[0], 16):
            while len(self._buffer) < size + 2:
                self._more()
            body += self._take(size)
            self._take(2)
            if len(body) > MAX_BODY:
                raise BadRequestError("body too large")
        while self._line():
            pass
        return bytes(body)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._more()
        line = self._take(end)
        self._take(2)
        return line

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _more(self, bytes_per_s: float = 0) -> None:
        if bytes_per_s:
            gevent.sleep(1 / SLOW_STEPS_PER_S)
        data = self._sock.recv(max(1, int(bytes_per_s / SLOW_STEPS_PER_S)) if bytes_per_s else 65536)
        if not data:
            raise BadRequestError("closed inside the body")
        self._buffer += data


def _parse_head(raw: str) -> Head:
    lines = raw.split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError("request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    path, _, query = parts[1].partition("?")
    keep_alive = parts[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Head(parts[0], unquote(path), dict(parse_qsl(query)) if query else {}, headers, keep_alive)


def response_head(status: int, headers: dict[str, str]) -> bytes:
    """Status line and headers, ready to send."""
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Overloaded"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """The data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
