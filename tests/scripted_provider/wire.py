"""What a protocol has to offer to be scripted: its events, its whole body, its errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

encode = msgspec.json.encode
Headers = dict[str, str]
Counts = dict[str, int]


Kind = Literal["meta", "delta", "finish", "usage", "done", "comment"]


class Frame(NamedTuple):
    """One event on the wire: the answer text and the usage in it, and the kind, by which faults choose."""

    data: bytes
    text: str = ""
    kind: Kind = "delta"
    usage: Counts | None = None


class Wire(ABC):
    """One answer in one protocol. Frames are complete SSE events, blank line included.

    `deltas` is the number of frames of kind "delta"; `end_marker` the kind without which a stream is not complete.
    """

    stream: bool = False
    keepalive: bytes = b": keep-alive\n\n"
    event_type: str = "text/event-stream; charset=utf-8"
    deltas: int = 0
    end_marker: Literal["finish", "done"] = "done"
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

    def text(self) -> str:
        """The answer text of the whole body."""
        return ""

    def counts(self) -> Counts | None:
        """The token counts that a whole answer reports, under the protocol's own names."""
        return None

    def stopped(self, sent: str) -> list[Frame]:
        """The events after a stop call, when the text in `sent` had left."""
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
