"""Server-sent events: the one place that writes them."""

from collections.abc import Callable, Iterable, Iterator

from flask import Response, current_app, request

from domain.errors import InvalidInput

Item = tuple[int, bytes] | None

_PING = b": ping\n\n"
_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx passes each event on at once
}


def event_stream(items: Iterable[Item], frame: Callable[[int, bytes], bytes] | None = None) -> Response:
    """A response that sends ``items`` as they come; None becomes a ping comment. ``frame`` renders one event."""
    response = current_app.response_class(_frames(items, frame or native_frame), mimetype="text/event-stream")
    response.headers.update(_HEADERS)
    response.implicit_sequence_conversion = False
    return response


def _frames(items: Iterable[Item], frame: Callable[[int, bytes], bytes]) -> Iterator[bytes]:
    yield b"retry: 2000\n\n"
    for item in items:
        data = _PING if item is None else frame(*item)
        if data:
            yield data


def native_frame(seq: int, event: bytes) -> bytes:
    """One event as the native API sends it: no ``event:`` field, so that ``EventSource.onmessage`` gets it."""
    return b"id: %d\ndata: %s\n\n" % (seq, event)


def last_event_id(after: int | None = None) -> int:
    """Where the client wants to read on: ``Last-Event-ID``, else ``after``, else the beginning.

    Raises :class:`InvalidInput` for a header that is not one of our ids.
    """
    header = request.headers.get("Last-Event-ID", "")
    if header:
        if not header.isascii() or not header.isdigit() or len(header) > 9:
            raise InvalidInput("Last-Event-ID is not one of ours.", "invalid_event_id", ("Last-Event-ID",))
        return int(header)
    return after or 0
