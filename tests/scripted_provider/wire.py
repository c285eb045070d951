"""What a protocol has to offer to be scripted: its events, its whole body, its errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

encode = msgspec.json.encode
Headers = dict[str, str]


class Frame(NamedTuple):
    """One event on the wire. `text` is the answer text in it; `kind` says what a fault may do to it."""

    data: bytes
    text: str = ""
    kind: Literal["meta", "delta", "finish", "usage", "done", "comment"] = "delta"


class Wire(ABC):
    """One answer in one protocol. Frames are complete SSE events, blank line included."""

    stream: bool = False
    keepalive: bytes = b": keep-alive\n\n"
    event_type: str = "text/event-stream; charset=utf-8"
    pieces: int = 0
    status: int = 200

    def frames(self) -> Iterator[Frame]:
        """The events of a streamed answer, in order."""
        yield from ()

    @abstractmethod
    def body(self) -> bytes:
        """The answer in one piece, as JSON."""

    def delta(self, text: str) -> Frame:
        """One event with some answer text."""
        return Frame(encode(text), text)

    def error_event(self, code: str, message: str) -> bytes:
        """The protocol's way to report an error once the status is 200: an event, or a body when not streaming."""
        return encode({"error": {"code": code, "message": message}})

    def usage_reported(self) -> dict[str, int] | None:
        """The usage a client of this answer gets to see, None when it gets none."""
        return None

    def stopped(self) -> list[Frame]:
        """The events after a stop call."""
        return []


class BodyWire(Wire):
    """A plain JSON answer, such as a list of models; faults apply to it as to any other."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self._body = body
        self.status = status

    def body(self) -> bytes:
        """The JSON it was made with."""
        return self._body


def sse(value: Any) -> bytes:
    """A `data:` event as OpenAI and Dify write it."""
    return b"data: %b\n\n" % encode(value)
