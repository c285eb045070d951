"""Server-sent events out of bytes, however the network cut them.

Follows the event stream format of the HTML standard: lines end in LF, CRLF or CR and in nothing else (U+2028 inside
JSON is text), a leading BOM is dropped, comments and unknown fields are ignored, an event that the end of the body cuts
short is not an event.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from domain.errors import ProviderGarbage

MAX_EVENT_BYTES = 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")
_NAMED = re.compile(rb"event: ([^\r\n]+)\ndata: ([^\r\n]+)\n\n")
_NAMED_AROUND = len(b"event: \ndata: \n\n")
_BOM = b"\xef\xbb\xbf"


class ServerEvent(msgspec.Struct, frozen=True, gc=False):
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
        if self._data or self._name or self._after_cr or b"\n" not in piece:
            return self._feed_lines(piece)
        if self._rest:
            piece, self._rest, self._rest_bytes = b"".join([*self._rest, piece]), [], 0
        if piece.startswith(b"data: "):
            return self._feed_plain(piece)
        return self._feed_named(piece) if piece.startswith(b"event: ") else self._feed_lines(piece)

    def _feed_plain(self, piece: bytes) -> list[ServerEvent]:
        """The short way: nearly every piece is whole events of one data line each, and the beginning of another one."""
        end = piece.rfind(b"\n\n")
        lines = piece[6:end].split(b"\n\ndata: ") if 0 < end <= self._limit and b"\r" not in piece else []
        if not lines or piece.count(b"\n", 0, end) != 2 * len(lines) - 2:
            return self._feed_lines(piece)
        self._first_line = False
        events = [ServerEvent("message", line) for line in lines if line]
        if rest := piece[end + 2 :]:
            events += self._feed_lines(rest)
        return events

    def _feed_named(self, piece: bytes) -> list[ServerEvent]:
        """The same where each event has a name."""
        found, end = _NAMED.findall(piece), piece.rfind(b"\n\n") + 2
        if end > self._limit or end != sum(len(name) + len(data) + _NAMED_AROUND for name, data in found):
            return self._feed_lines(piece)  # there is something between them
        self._first_line = False
        events = [ServerEvent(name.decode("utf-8", "replace"), data) for name, data in found]
        if rest := piece[end:]:
            events += self._feed_lines(rest)
        return events

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


def parse_events(pieces: Iterable[bytes]) -> Iterator[Sequence[ServerEvent]]:
    """The events of a body that arrives in ``pieces``: those that each piece completes, if there are any."""
    feed = EventParser().feed
    for piece in pieces:
        if events := feed(piece):
            yield events
