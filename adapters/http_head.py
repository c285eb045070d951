"""The heads of HTTP messages: a request's written in one go, an answer's read out of the bytes on the wire.

http.client makes an e-mail message of every head, which takes longer than all else that an answer costs.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import BadStatusLine, IncompleteRead, InvalidURL, LineTooLong, RemoteDisconnected

MAX_HEAD_BYTES = 64 * 1024
_TARGET = re.compile(r"[!-~]+")  # neither spaces nor what is not ASCII
_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.(\d) +([1-9]\d\d)(?: .*)?")
_SWITCHING, _NO_CONTENT, _NOT_MODIFIED = 101, 204, 304
_FINAL = 200


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. ``headers`` are by their names in lower case; of several of one name, all with commas.

    ``chunked`` or ``length`` (bytes) say how long the body is; neither: as long as the connection. ``keeps``: the
    connection may be used again.
    """

    status: int
    headers: Mapping[str, str]
    chunked: bool
    length: int | None
    keeps: bool


def request_head(method: str, target: str, headers: Mapping[str, str], size: int | None) -> bytes:
    """The head of a request whose body has ``size`` bytes; None: it has no body.

    Raises InvalidURL for a target, and ValueError for a header, that would end before its end.
    """
    if not _TARGET.fullmatch(target):
        raise InvalidURL(f"not a target of a request: {target!r}")
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if size is not None:
        lines.append(f"content-length: {size}")
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines])
    if head.count("\n") != len(lines) or head.count("\r") != len(lines):
        raise ValueError("a header has more than one line")
    return f"{head}\r\n\r\n".encode("latin-1")


def read_head(receive: Callable[[], bytes]) -> tuple[Head, bytes]:
    """The head of the next answer, and what has come behind it. Announcements that go before an answer are passed over.

    ``receive`` gives the next bytes, and none at the end of the connection. Raises RemoteDisconnected when there is
    nothing, IncompleteRead when there is not all of it, BadStatusLine or LineTooLong when it is none.
    """
    wire = receive()
    if not wire:
        raise RemoteDisconnected("the connection was closed without an answer")
    while True:
        end = _END.search(wire)
        while end is None:
            _check_begin(wire)
            more = receive()
            if not more:
                raise IncompleteRead(wire)
            searched = max(0, len(wire) - 2)
            wire += more
            end = _END.search(wire, searched)
        head = _parsed(wire[: end.start()].decode("latin-1"))
        wire = wire[end.end() :]
        if head.status >= _FINAL or head.status == _SWITCHING:
            return head, wire


def _check_begin(wire: bytes) -> None:
    """What is no answer may never have an end."""
    if len(wire) > MAX_HEAD_BYTES:
        raise LineTooLong("head")
    if not wire.startswith(b"HTTP/"[: len(wire)]):
        raise BadStatusLine(repr(wire[:40]))


def _parsed(text: str) -> Head:
    first, *lines = text.split("\n")
    found = _STATUS.fullmatch(first.rstrip("\r"))
    if found is None:
        raise BadStatusLine(repr(first[:40]))
    status, headers = int(found[2]), _headers(lines)
    coding = headers.get("transfer-encoding")
    chunked = coding is not None and coding.lower() == "chunked"
    length = None if coding is not None else _length(headers.get("content-length"))
    if status < _FINAL or status in (_NO_CONTENT, _NOT_MODIFIED):
        chunked, length = False, 0
    options = headers.get("connection", "").lower()
    keeps = "keep-alive" in options if found[1] == "0" else "close" not in options
    ends = chunked or length is not None
    return Head(status, headers, chunked, length, keeps and ends and status != _SWITCHING)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t"):
            if name:  # an old way to go on with a value
                headers[name] += f" {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        name, value = name.rstrip().lower(), value.strip()
        if colon:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        else:
            name = ""
    return headers


def _length(given: str | None) -> int | None:
    """Bytes; None where nothing sensible is said: then the end of the connection is the body's."""
    return int(given) if given is not None and given.isascii() and given.isdigit() else None
