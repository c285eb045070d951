"""Server-sent events out of bytes, however the network cut them.

Follows the event stream format of the HTML standard: lines end in LF, CRLF or CR and in nothing else (U+2028 inside
JSON is text), a leading BOM is dropped, comments and unknown fields are ignored, an event that the end of the body cuts
short is not an event.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from domain.errors import ProviderGarbage

MAX_EVENT_BYTES = 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One event: ``name`` is ``message`` unless the stream says otherwise; ``data`` is never empty."""

    name: str
    data: bytes


class EventParser:
    """Turns body bytes into events, piece by piece. An event and each of its lines may have ``limit`` bytes."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._rest: list[bytes] = []  # the beginning of a line that has not ended yet
        self._rest_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = ""
        self._after_cr = False
        self._first_line = True

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that ``piece`` completes. Raises :class:`ProviderGarbage` when one is too large."""
        # Nearly every piece is exactly one event of one data line; nothing may be pending for the short way.
        if (
            piece.startswith(b"data: ")
            and piece.find(b"\n") == len(piece) - 2
            and piece.endswith(b"\n\n")
            and len(piece) <= self._limit
            and b"\r" not in piece
            and not (self._rest or self._data or self._name or self._first_line or self._after_cr)
        ):
            data = piece[6:-2]
            return [ServerEvent("message", data)] if data else []
        return self._feed_lines(piece)

    def _feed_lines(self, piece: bytes) -> list[ServerEvent]:
        if self._after_cr and piece:
            # The CR that ended the last piece ended its line too; an LF that follows it belongs to it.
            piece, self._after_cr = piece.removeprefix(b"\n"), False
        if b"\n" not in piece and b"\r" not in piece:
            self._keep(piece)
            return []
        self._after_cr = piece.endswith(b"\r")
        lines = _LINE_END.split(b"".join([*self._rest, piece]))
        self._rest, self._rest_bytes = [], 0
        self._keep(lines.pop())
        return [event for line in lines if (event := self._line(line))]

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._rest_bytes += len(piece)
            self._check(self._rest_bytes)

    def _line(self, line: bytes) -> ServerEvent | None:
        self._check(len(line))
        if self._first_line:
            line, self._first_line = line.removeprefix(_BOM), False
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            self._check(self._data_bytes)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", b"\n".join(self._data)
        self._name, self._data, self._data_bytes = "", [], 0
        return ServerEvent(name, data) if data else None

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ProviderGarbage(f"The provider sent an event of more than {self._limit} bytes.")


def parse_events(pieces: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events of a body that arrives in ``pieces``."""
    feed = EventParser().feed
    for piece in pieces:
        yield from feed(piece)
