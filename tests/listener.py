"""Reads an event stream in the background, as a browser's EventSource does."""

import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from werkzeug.test import TestResponse

PATIENCE_S = 10.0


@dataclass(frozen=True)
class Event:
    """One event; a comment has the name ``ping``."""

    name: str
    id: str
    data: Any


def parsed(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events of a stream, as they come."""
    rest = ""
    for piece in pieces:
        rest += piece.decode()
        while "\n\n" in rest:
            frame, _, rest = rest.partition("\n\n")
            if frame.startswith(":"):
                yield Event(frame[1:].strip(), "", None)
                continue
            fields = dict(line.split(": ", 1) for line in frame.split("\n"))
            if "data" in fields:
                yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))


class Listener:
    """Has an open stream; what came of it is there to be taken."""

    def __init__(self, response: TestResponse) -> None:
        assert response.status_code == 200, response.get_data(as_text=True)
        assert response.mimetype == "text/event-stream"
        self._response = response
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in parsed(self._response.response):  # type: ignore[arg-type]  # bytes, as served
                self._events.put(event)
        finally:
            self._response.close()
            self._events.put(None)

    def next(self, *names: str, seconds: float = PATIENCE_S) -> Event:
        """The next event that is no ping (or the next of these names)."""
        give_up = time.monotonic() + seconds
        while True:
            event = self._events.get(timeout=max(0.0, give_up - time.monotonic()))
            assert event is not None, "the stream has ended"
            if event.name in names or (not names and event.name != "ping"):
                return event

    def generation(self, seconds: float = PATIENCE_S) -> list[Event]:
        """The events up to the next `end` or `error`."""
        events = [self.next(seconds=seconds)]
        while events[-1].name not in ("end", "error"):
            events.append(self.next(seconds=seconds))
        return events

    def is_over(self, seconds: float = PATIENCE_S) -> bool:
        """Whether the server ends the stream within the time; what still comes of it is dropped."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing but pings comes for so long."""
        try:
            self.next(seconds=seconds)
        except queue.Empty:
            return True
        return False


def text_of(events: list[Event]) -> str:
    """What a client has that appends every chunk."""
    return "".join(event.data["content"] for event in events if event.name == "chunk")
