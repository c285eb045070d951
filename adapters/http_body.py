"""The body of an HTTP answer out of the bytes on the wire, piece by piece as they come.

http.client reads a chunk in three steps; many servers send each token in a chunk of its own. Here a receive that brings
many whole chunks is one step for each of them, and one piece.
"""

from collections.abc import Callable
from http.client import BadStatusLine, IncompleteRead

_MAX_SIZE_LINE = 1024
_LINE_END = 2  # bytes of the CRLF behind a chunk
_PLAIN_SIZE = 10  # bytes of a size, its line end included, as it usually is


class Body:
    """A body that is chunked, of a known ``length``, or (neither) as long as the connection lasts.

    ``receive`` gives the next bytes, and none at the end of the connection; ``ahead`` is what came behind the head.
    ``complete`` is true once the body has been read to its end; ``surplus`` when bytes came behind it that nobody asked
    for.
    """

    def __init__(self, receive: Callable[[], bytes], *, chunked: bool, length: int | None, ahead: bytes = b"") -> None:
        self.complete = length == 0 and not chunked
        self.surplus = self.complete and bool(ahead)
        self._ahead = ahead
        self._receive = receive
        self._length = None if chunked else length
        self._read: Callable[[bytes], bytes] = self._unchunk if chunked else self._count
        self._chunk_left = 0  # of the chunk under way, its line end included
        self._line = b""  # the beginning of a line of the framing
        self._in_trailer = False

    def read(self) -> bytes:
        """The next piece; empty at the end.

        Raises IncompleteRead when the connection ends before the body, BadStatusLine when the framing is broken.
        """
        while not self.complete:
            wire, self._ahead = self._ahead or self._receive(), b""
            if not wire:
                self._end_of_connection()
            elif content := self._read(wire):
                return content
        return b""

    def _end_of_connection(self) -> None:
        if self._length is not None or self._read == self._unchunk:
            raise IncompleteRead(b"")
        self.complete = True

    def _count(self, wire: bytes) -> bytes:
        if self._length is None:
            return wire
        content = wire[: self._length]
        self._length -= len(content)
        self.complete = not self._length
        self.surplus = len(content) < len(wire)
        return content

    def _unchunk(self, wire: bytes) -> bytes:
        if self._line:
            wire, self._line = self._line + wire, b""
        contents = []
        at, end = 0, len(wire)
        while at < end and not self.complete:
            if not self._chunk_left and not self._in_trailer and (stop := _whole_chunk(wire, at)):
                contents.append(wire[wire.find(b"\n", at) + 1 : stop - _LINE_END])
                at = stop
            elif self._chunk_left:
                stop = at + self._chunk_left
                contents.append(wire[at : max(at, stop - _LINE_END)])
                self._chunk_left = max(0, stop - end)
                at = min(stop, end)
            else:
                at = self._framing_line(wire, at)
        self.surplus = at < end
        return contents[0] if len(contents) == 1 else b"".join(contents)

    def _framing_line(self, wire: bytes, at: int) -> int:
        """Read a chunk's size, or a line of the trailer; gives the place behind it."""
        stop = wire.find(b"\n", at)
        if stop < 0:
            self._line = wire[at:]
            if len(self._line) > _MAX_SIZE_LINE:
                raise BadStatusLine("a chunk's size without an end")
            return len(wire)
        line = wire[at:stop].rstrip(b"\r")
        if self._in_trailer:
            self.complete = not line
        else:
            self._start_chunk(line)
        return stop + 1

    def _start_chunk(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16)
        except ValueError:
            raise BadStatusLine("a chunk's size that is no number") from None
        if size < 0:
            raise BadStatusLine("a chunk's size below zero")
        self._in_trailer = size == 0
        self._chunk_left = size + _LINE_END if size else 0


def _whole_chunk(wire: bytes, at: int) -> int:
    """Where the chunk at that place ends, if all of it is there and it is plainly said; else 0."""
    stop = wire.find(b"\r\n", at, at + _PLAIN_SIZE)
    digits = wire[at:stop]
    if stop < 0 or not digits.isalnum():
        return 0
    try:
        size = int(digits, 16)
    except ValueError:
        return 0
    end = stop + _LINE_END + size + _LINE_END
    return end if size and end <= len(wire) else 0
