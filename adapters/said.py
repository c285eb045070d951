"""What a provider has said in one read of the network, as deltas that are passed on together."""

from collections.abc import Callable, Iterable, Iterator

from adapters.sse import ServerEvent
from domain.deltas import Piece, ReasoningDelta, Said, TextDelta, WireEvent
from domain.errors import ProviderError


class Saying:
    """Collects what the events of one read say, and with ``wire`` the events themselves.

    Those tell the client everything, so that beside them neighbouring text is joined: nobody sees where it was cut.
    """

    __slots__ = ("_events", "_joined", "_said", "_wire")

    def __init__(self, *, wire: bool) -> None:
        self._wire = wire
        self._events: list[WireEvent] = []
        self._said: list[Said] = []
        self._joined: list[str] = []  # text that is no delta yet

    def event(self, data: bytes, name: str = "") -> None:
        """The next event as it came; what it says follows."""
        if self._wire:
            self._events.append(WireEvent(data, name))

    def text(self, text: str) -> None:
        """More of the answer."""
        if self._wire:
            self._joined.append(text)
        else:
            self._said.append(TextDelta(text))

    def reasoning(self, text: str) -> None:
        """More of what the model thinks."""
        self.add(ReasoningDelta(text))

    def add(self, delta: Said) -> None:
        """Anything that is said."""
        if self._joined:
            self._join()
        self._said.append(delta)

    def _join(self) -> None:
        self._said.append(TextDelta("".join(self._joined)))
        self._joined = []

    def piece(self) -> Iterator[Piece]:
        """All of it, if there is anything."""
        if self._joined:
            self._join()
        if self._said or self._events:
            yield Piece(self._said, self._events)


def read_piece(
    events: Iterable[ServerEvent], read: Callable[[ServerEvent, Saying], None], *, wire: bool
) -> Iterator[Piece]:
    """What ``read`` makes of the events of one read; what comes before an event that it refuses is given first."""
    saying = Saying(wire=wire)
    try:
        for event in events:
            read(event, saying)
    except ProviderError:
        yield from saying.piece()
        raise
    yield from saying.piece()
