"""What the parts tell about their work, in plain values, to whoever measures it."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.generation import EndReason, GenerationStatus
from domain.ledger import EntryKind, EntryState
from domain.usage import Usage


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """A response whose last byte is sent, or whose client has gone. ``route`` is the rule that matched, not the path.

    ``request_id`` is that of the logs, ``code`` that of the error body; ``first_byte_s`` is there for streams only.
    Seconds from the request's arrival.
    """

    request_id: str
    route: str | None
    method: str
    status: int
    code: str | None
    seconds: float
    first_byte_s: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """One request to a provider is over; it was sent at ``began_at``, a Unix time.

    ``repeats``: whether it was a retry or a failover after an earlier one. ``usage`` is the provider's own count.
    """

    provider: str
    model: str
    outcome: str
    code: str | None
    seconds: float
    first_token_s: float | None
    repeats: str | None
    began_at: float
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """A generation has ended and is saved so. Seconds count from its turn's beginning."""

    provider: str
    model: str
    status: GenerationStatus
    end_reason: EndReason
    code: str | None
    seconds: float
    first_token_s: float | None


@dataclass(frozen=True, slots=True)
class GenerationStory:
    """How a generation went that ran here, for who follows a request through the parts; ``began_at`` is a Unix time.

    ``trace_parent`` is what :meth:`Observer.trace_parent` gave when it was submitted.
    """

    trace_parent: str
    generation_id: str
    session_id: str
    end_reason: str
    code: str | None
    began_at: float
    seconds: float
    attempts: Sequence[AttemptEnd]


@dataclass(frozen=True, slots=True)
class Settlement:
    """A ledger row has got its final state. ``usage`` is None where nothing is known of; ``cost`` is in nano-USD."""

    kind: EntryKind
    state: EntryState
    provider: str
    model: str
    usage: Usage | None
    cost: int


class Observer:
    """Hears what happens, and here does nothing with it. Whatever a subclass does is quick and raises nothing."""

    def request_began(self, trace_parent: str | None) -> None:
        """A request has come in; ``trace_parent`` is its header of that name, in the W3C's form."""

    def request_ended(self, end: RequestEnd) -> None:
        """A request is over."""

    def trace_parent(self) -> str | None:
        """What a part of the present request that outlives it has to remember, in the same form; None: nothing."""
        return None

    def generation_told(self, story: GenerationStory) -> None:
        """A generation is over whose trace parent was remembered."""

    def stream_began(self, route: str) -> None:
        """An event stream has begun to flow to a client."""

    def stream_ended(self, route: str) -> None:
        """It has ended, or its client has gone."""

    def attempt_ended(self, end: AttemptEnd) -> None:
        """A provider has answered or failed."""

    def generation_ended(self, end: GenerationEnd) -> None:
        """A generation has got its final state, by this worker."""

    def settled(self, settlement: Settlement) -> None:
        """A ledger row is settled or released, for good."""

    def duty_ended(self, duty: str, seconds: float, *, failed: bool) -> None:
        """A duty of the generation keeper is done, or could not be."""

    def connection_taken(self, waited_s: float) -> None:
        """A transaction has its database connection."""

    def database_failed(self, kind: str) -> None:
        """The database failed a transaction: ``pool_timeout``, ``hangs``, ``storage_full``, ``unavailable``."""


NOBODY = Observer()  # where nobody wants to know


class Observers(Observer):
    """Tells several."""

    def __init__(self, *observers: Observer) -> None:
        self._all = observers

    def request_began(self, trace_parent: str | None) -> None:
        """A request has come in."""
        for one in self._all:
            one.request_began(trace_parent)

    def trace_parent(self) -> str | None:
        """The first that there is."""
        return next((found for one in self._all if (found := one.trace_parent()) is not None), None)

    def generation_told(self, story: GenerationStory) -> None:
        """A generation is over whose trace parent was remembered."""
        for one in self._all:
            one.generation_told(story)

    def request_ended(self, end: RequestEnd) -> None:
        """A request is over."""
        for one in self._all:
            one.request_ended(end)

    def stream_began(self, route: str) -> None:
        """An event stream has begun to flow to a client."""
        for one in self._all:
            one.stream_began(route)

    def stream_ended(self, route: str) -> None:
        """It has ended, or its client has gone."""
        for one in self._all:
            one.stream_ended(route)

    def attempt_ended(self, end: AttemptEnd) -> None:
        """A provider has answered or failed."""
        for one in self._all:
            one.attempt_ended(end)

    def generation_ended(self, end: GenerationEnd) -> None:
        """A generation has got its final state, by this worker."""
        for one in self._all:
            one.generation_ended(end)

    def settled(self, settlement: Settlement) -> None:
        """A ledger row is settled or released, for good."""
        for one in self._all:
            one.settled(settlement)

    def duty_ended(self, duty: str, seconds: float, *, failed: bool) -> None:
        """A duty of the generation keeper is done, or could not be."""
        for one in self._all:
            one.duty_ended(duty, seconds, failed=failed)

    def connection_taken(self, waited_s: float) -> None:
        """A transaction has its database connection."""
        for one in self._all:
            one.connection_taken(waited_s)

    def database_failed(self, kind: str) -> None:
        """A transaction failed since the database cannot serve."""
        for one in self._all:
            one.database_failed(kind)
