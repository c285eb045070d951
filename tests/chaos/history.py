"""What the clients saw, as it happened. Times are `time.monotonic()` in seconds, comparable with the provider's log."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_TERMINAL = (b'{"type":"complete"', b'{"type":"error","code":"generation_lost"')


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as a reader received it: its id, its JSON, and when and from which node."""

    seq: int
    data: bytes
    at: float
    port: int

    @property
    def is_terminal(self) -> bool:
        """Whether it says of itself that nothing comes after it."""
        return self.data.startswith(_TERMINAL)

    def parsed(self) -> dict[str, Any]:
        """The event."""
        return dict(json.loads(self.data))


@dataclass(slots=True)
class Turn:
    """One message that was sent. It is acknowledged once its generation has a name."""

    tag: str  # occurs in the message, and so in the provider's log; unique
    message: str
    port: int
    asked_at: float
    status: int = 0  # 0: no answer came
    code: str = ""
    retry_after: str = ""
    answered_at: float = 0.0
    session_id: str = ""
    generation_id: str = ""

    @property
    def acknowledged(self) -> bool:
        """Whether the service has promised an answer."""
        return bool(self.generation_id)


@dataclass(slots=True)
class Reading:
    """The stream of one generation as one reader has it, joined over all the times that it came back."""

    generation_id: str
    after: int = 0
    frames: list[Frame] = field(default_factory=list)
    cuts: int = 0
    gave_up: str = ""

    @property
    def last_seq(self) -> int:
        """What the reader sends as Last-Event-ID."""
        return self.frames[-1].seq if self.frames else self.after

    @property
    def ended(self) -> bool:
        """Whether the last event has come."""
        return bool(self.frames) and self.frames[-1].is_terminal

    def text(self) -> str:
        """The answer as it stands on the reader's screen."""
        pieces: list[str] = []
        for frame in self.frames:
            event = frame.parsed()
            if event["type"] == "replace":
                pieces.clear()
            if event["type"] in ("content", "replace"):
                pieces.append(event["content"])
        return "".join(pieces)


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop and its answer. ``state`` is empty where none came."""

    generation_id: str
    port: int
    asked_at: float
    answered_at: float
    status: int
    state: str


@dataclass(frozen=True, slots=True)
class Call:
    """Any other request. ``status`` 0: no answer came."""

    path: str
    port: int
    at: float
    seconds: float
    status: int


@dataclass(slots=True)
class History:
    """All of it."""

    turns: list[Turn] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def acknowledged(self) -> list[Turn]:
        """The turns that the service has taken."""
        return [turn for turn in self.turns if turn.acknowledged]

    def readings_of(self, generation_id: str) -> list[Reading]:
        """What its readers have."""
        return [reading for reading in self.readings if reading.generation_id == generation_id]

    def statuses(self) -> Counter[int]:
        """How often each status came, 0 for no answer."""
        requests: list[Turn | Stop | Call] = [*self.turns, *self.stops, *self.calls]
        return Counter(request.status for request in requests)


def faults_of_server(statuses: Counter[int], *, but: Sequence[int] = ()) -> int:
    """How many answers were 5xx, or none at all."""
    return sum(count for status, count in statuses.items() if (status >= 500 or status == 0) and status not in but)
