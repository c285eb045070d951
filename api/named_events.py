"""The older streaming vocabulary: named events `start`, `chunk`, `end` and `error` for a browser's EventSource.

Each generation ends with exactly one of `end` and `error`, which holds the whole text. The SSE id of an event is
``<generation id>:<number in its log>``, so that a reader of a session goes on in the right generation.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import msgspec
from flask import request

from api.sse import PING, Item, named_frame
from domain import events
from domain.errors import AppError, InvalidInput
from domain.generation import GenerationStatus
from services.session_feed import EventPlace, SessionReader

NAMED_EVENT = {  # in the OpenAPI document
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "`<generation id>:<number>`"},
        "event": {"enum": ["start", "chunk", "end", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_FAILED = (GenerationStatus.FAILED, GenerationStatus.INTERRUPTED)
_INTERRUPTED = "The answer was interrupted; what there is of it is kept."
_MAX_SEQ_DIGITS = 9


def session_frames(reader: SessionReader) -> Iterator[bytes]:
    """Every generation that the reader meets, and pings in between; an error without an id when it must end."""
    try:
        with closing(reader):
            for followed in reader:
                if followed is None:
                    yield PING
                else:
                    yield from generation_frames(followed.generation_id, followed.items)
    except AppError as error:
        yield _frame("error", "", {"code": error.error_code, "message": error.message, "retryable": False})


def generation_frames(generation_id: str, items: Iterable[Item]) -> Iterator[bytes]:
    """One generation in this vocabulary. Events that it has no word for are left out."""
    failure: events.Error | None = None
    place = ""
    for item in items:
        if item is None:
            yield PING
            continue
        event = events.decode(item[1])
        place = f"{generation_id}:{item[0]}"
        match event:
            case events.Start():
                yield _frame("start", place, _start(event))
            case events.Error():
                failure = event  # said at the end, together with the text that is kept
            case events.Complete(message=message) if message.status in _FAILED:
                yield _frame("error", place, _ending(event) | _failure(event, failure))
                return
            case events.Complete():
                yield _frame("end", place, _ending(event))
                return
            case _ if chunk := _chunk(event):
                yield _frame("chunk", place, chunk)
    if failure is not None:  # nothing could be saved
        yield _frame("error", place, {"generation_id": generation_id} | msgspec.to_builtins(failure))


def last_place(queried: str | None) -> EventPlace | None:
    """Where the client wants to read on: ``Last-Event-ID``, else ``queried``.

    Raises :class:`InvalidInput` for what is not one of our ids.
    """
    text = request.headers.get("Last-Event-ID") or queried
    if not text:
        return None
    generation_id, _, seq = text.rpartition(":")
    if not (text.isascii() and generation_id and seq.isdigit()) or len(seq) > _MAX_SEQ_DIGITS:
        raise InvalidInput("Last-Event-ID is not one of ours.", "invalid_event_id", ("Last-Event-ID",))
    return EventPlace(generation_id, int(seq))


def _frame(name: str, place: str, data: dict[str, Any]) -> bytes:
    return named_frame(name.encode(), place, msgspec.json.encode(data))


def _start(event: events.Start) -> dict[str, Any]:
    return {
        "session_id": event.session_id,
        "generation_id": event.generation_id,
        "message_id": event.message_id,
        "provider": event.provider,
        "model": event.model,
    }


def _chunk(event: events.Event) -> dict[str, Any] | None:
    """What a client appends: ``content`` is always there; ``replace`` says that it stands for all that was so far."""
    match event:
        case events.Content(content=content):
            return {"content": content}
        case events.Reasoning(content=content):
            return {"content": "", "reasoning": content}
        case events.Replace(content=content, reasoning=reasoning):
            return {"content": content, "replace": True} | ({} if reasoning is None else {"reasoning": reasoning})
        case events.Image(url=url, alt=alt):
            return {"content": "", "image": {"url": url, "alt": alt}}
    return None


def _ending(event: events.Complete) -> dict[str, Any]:
    message = event.message
    return {
        "session_id": message.session_id,
        "generation_id": message.generation_id,
        "message_id": message.id,
        "response": message.content,
        "status": message.status,
        "end_reason": message.end_reason,
        "usage": message.usage,
    }


def _failure(event: events.Complete, known: events.Error | None) -> dict[str, Any]:
    """Why it failed; a reader who comes after the log is gone learns the code only."""
    if known is not None:
        return {"code": known.code, "message": known.message, "retryable": known.retryable}
    if event.message.status is GenerationStatus.INTERRUPTED:
        return {"code": "interrupted", "message": _INTERRUPTED, "retryable": True}
    code = event.message.error_code or "provider_error"
    return {"code": code, "message": "The provider failed.", "retryable": False}
