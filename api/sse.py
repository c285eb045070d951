"""Server-sent events: the one place that writes them."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from flask import Response, current_app, request

from domain.errors import InvalidInput, NotAuthenticated

Item = tuple[int, bytes] | None

PING = b": ping\n\n"
_RETRY = b"retry: 2000\n\n"  # milliseconds before an EventSource tries again
_MAX_DIGITS = 9
_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx passes each event on at once
}


def event_stream(items: Iterable[Item]) -> Response:
    """A response that sends ``items`` as they come, in the native form; None becomes a ping comment."""
    return streamed(_native_frames(items))


def _native_frames(items: Iterable[Item]) -> Iterator[bytes]:
    with suppress(NotAuthenticated):  # signed out meanwhile: the stream ends, and who comes back is told
        for item in items:
            yield PING if item is None else native_frame(*item)


def streamed(frames: Iterable[bytes]) -> Response:
    """A response that sends ready frames as they come."""
    response = current_app.response_class(chain([_RETRY], frames), mimetype="text/event-stream")
    response.headers.update(_HEADERS)
    response.implicit_sequence_conversion = False
    return response


def native_frame(seq: int, event: bytes) -> bytes:
    """One event as the native API sends it: no ``event:`` field, so that ``EventSource.onmessage`` gets it."""
    return b"id: %d\ndata: %s\n\n" % (seq, event)


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
