"""What workers call out to each other: it is heard at once or not at all, and the database tells the same later."""

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

# A generation is to stop, or was taken from its worker; a session has a new turn; an API key or its owner has changed.
Signal = Literal["stop", "lost", "turn", "key"]


class Signals(Protocol):
    """Calls to all other workers, and theirs."""

    def send(self, signal: Signal, name: str, /) -> None:
        """Tell the others, without waiting for them; ``name`` is an id of what it is about."""

    def listen(self, signal: Signal, hear: Callable[[str], None], /) -> None:
        """Have ``hear`` called for each such signal, with the name. It must be quick."""

    def follow(self, session_ids: Iterable[str], /) -> None:
        """Have ``turn`` called for these sessions, for a minute: nobody else is told of what nobody follows."""


class NoSignals:
    """Nobody hears, and nobody calls."""

    def send(self, _signal: Signal, _name: str) -> None:
        """Into the void."""

    def listen(self, _signal: Signal, _hear: Callable[[str], None]) -> None:
        """In vain."""

    def follow(self, _session_ids: Iterable[str]) -> None:
        """In vain."""
