"""Server-sent events: the one place that writes them."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from flask import Response, current_app, request

from domain.errors import InvalidInput, NotAuthenticated

Numbered = tuple[int, bytes]
Item = Numbered | None

PING = b": ping\n\n"
_RETRY = b"retry: 2000\n\n"  # milliseconds before an EventSource tries again
_MAX_DIGITS = 9
_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx passes each event on at once
}


def event_stream(stream: Iterable[Sequence[Numbered]]) -> Response:
    """A response that sends events as they come, in the native form; those that are there together leave together.

    Where there are none, it is a ping comment; the first of all, which has to be there at once, may be none too.
    """
    return _streaming(_native_frames(stream))


def _native_frames(stream: Iterable[Sequence[Numbered]]) -> Iterator[bytes]:
    first = _RETRY
    with suppress(NotAuthenticated):  # signed out meanwhile: the stream ends, and who comes back is told
        for news in stream:
            yield first + b"".join(map(_native_frame, news)) if news else first or PING
            first = b""


def streamed(frames: Iterable[bytes]) -> Response:
    """A response that sends ready frames as they come, after the time that an EventSource waits."""
    return _streaming(chain([_RETRY], frames))


def frames_as_they_come(frames: Generator[bytes, None, None]) -> Response:
    """A response of these frames and nothing else, in a protocol of its own.

    The first one is made here: what it raises is answered as an error. The frames are closed with the response.
    """
    return _streaming(_BegunFrames(next(frames), frames))


class _BegunFrames:
    """Frames of which the first is there. A generator around them would close nothing unless it is begun."""

    def __init__(self, first: bytes, rest: Generator[bytes, None, None]) -> None:
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        return chain([self._first], self._rest)

    def close(self) -> None:
        """Nobody reads on."""
        self._rest.close()


def _streaming(frames: Iterable[bytes]) -> Response:
    response = current_app.response_class(frames, mimetype="text/event-stream")
    response.headers.update(_HEADERS)
    response.implicit_sequence_conversion = False
    return response


def _native_frame(event: Numbered) -> bytes:
    """One event as the native API sends it: no ``event:`` field, so that ``EventSource.onmessage`` gets it."""
    return b"id: %d\ndata: %s\n\n" % event


def named_frame(name: bytes, event_id: str, data: bytes) -> bytes:
    """One event with a name, for ``EventSource.addEventListener``; without an id, the last one stays in force."""
    identified = b"id: %s\n" % event_id.encode() if event_id else b""
    return b"%sevent: %s\ndata: %s\n\n" % (identified, name, data)


def last_event_id(after: int | None = None) -> int:
    """Where the client wants to read on: ``Last-Event-ID``, else ``after``, else the beginning.

    Raises :class:`InvalidInput` for a header that is not one of our ids.
    """
    header = request.headers.get("Last-Event-ID", "")
    if header:
        if not header.isascii() or not header.isdigit() or len(header) > _MAX_DIGITS:
            raise InvalidInput("Last-Event-ID is not one of ours.", "invalid_event_id", ("Last-Event-ID",))
        return int(header)
    return after or 0
