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
        self._chunked = chunked
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
            elif content := self._unchunk(wire) if self._chunked else self._count(wire):
                return content
        return b""

    def _end_of_connection(self) -> None:
        if self._length is not None or self._chunked:
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
        contents: list[bytes] = []
        at, end = 0, len(wire)
        while at < end and not self.complete:
            if self._chunk_left:
                stop = at + self._chunk_left
                contents.append(wire[at : max(at, stop - _LINE_END)])
                self._chunk_left = max(0, stop - end)
                at = min(stop, end)
            elif self._in_trailer or (stop := _whole_chunks(wire, at, contents)) == at:
                at = self._framing_line(wire, at)
            else:
                at = stop
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


def _whole_chunks(wire: bytes, at: int, contents: list[bytes]) -> int:
    """Take the chunks from that place on that are all there and plainly said; gives the place behind them."""
    while True:
        stop = wire.find(b"\r\n", at, at + _PLAIN_SIZE)
        digits = wire[at:stop]
        if stop < 0 or not digits.isalnum():
            return at
        try:
            size = int(digits, 16)
        except ValueError:
            return at
        begin = stop + _LINE_END
        end = begin + size
        if not size or end + _LINE_END > len(wire):
            return at
        contents.append(wire[begin:end])
        at = end + _LINE_END
