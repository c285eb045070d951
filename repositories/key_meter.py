"""Metering what API keys use: for this process, and with Redis for all of them."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.api_keys import KeyLimits
from repositories.key_window import KeyWindow, Reading

_SWEEP_S = 60.0
_FEW = 8  # slots, of which the next request may need one

Told = Callable[[Reading], None]


class SharedKeyMeter(Protocol):
    """Meters for all processes together. None, where there is something to tell: it cannot be said now."""

    def hold(self, key_id: str, slot: str, limits: KeyLimits, tokens: int) -> Reading | None:
        """Count a request, and take its slot; see :meth:`KeyWindow.hold`."""

    def settle(
        self, key_id: str, slot: str, bucket: int | None, requests: int, tokens: int, told: Told | None = None
    ) -> None:
        """Free the slot, and count the difference, within some milliseconds; see :meth:`KeyWindow.settle`.

        ``told`` hears how the key stands then, if that can be said.
        """

    def flush(self) -> None:
        """Come back when what was settled is."""

    def renew(self, slots: Sequence[tuple[str, str]]) -> None:
        """The slots, each with its key before it, are in use for another while."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What one request holds: its slot, and where it was counted, here and in what is shared."""

    key_id: str
    slot: str
    limits: KeyLimits
    tokens: int
    bucket: int
    shared_bucket: int | None


class KeyMeter:
    """Decides what a key's limits allow.

    While that answers, what is ``shared`` decides alone, and is asked once. What it lets in counts here too: when it
    is lost, the process goes on with what it has seen itself. It never raises.
    """

    def __init__(self, shared: SharedKeyMeter | None = None) -> None:
        self._shared = shared
        self._windows: dict[str, KeyWindow] = {}
        self._readings: dict[str, Reading] = {}  # the last that was shared, of each key
        self._lock = threading.Lock()
        self._sweep_at = time.monotonic() + _SWEEP_S

    def hold(self, key_id: str, slot: str, limits: KeyLimits, tokens: int) -> tuple[Ticket | None, Reading]:
        """Count a request of so many tokens, and take a slot, if every limit allows it; how the key stands then.

        Without a ticket it was refused: see the reading, and nothing was counted.
        """
        reading = self._shared.hold(key_id, slot, limits, tokens) if self._shared else None
        if reading is not None:
            self._readings[key_id] = reading
            if reading.refused:
                return None, reading
        with self._lock:
            window, moment = self._window(key_id), time.monotonic()
            here = window.hold(moment, slot, limits, tokens) if reading is None else window.add(moment, slot, tokens)
        if here.refused:
            return None, here
        shared_bucket = None if reading is None else reading.bucket
        return Ticket(key_id, slot, limits, tokens, here.bucket, shared_bucket), reading or here

    def settle(self, ticket: Ticket, requests: int, tokens: int, told: Told) -> None:
        """Free the slot, and count so much more, or, where it is negative, less than was held.

        ``told`` hears how the key stands then. Others learn of it within milliseconds; before this comes back, if one
        of the key's limits is nearly reached, so that whoever is refused now is not a moment after it.
        """
        with self._lock:
            window = self._window(ticket.key_id)
            here = window.settle(time.monotonic(), ticket.slot, ticket.bucket, requests, tokens)
        if self._shared is None:
            told(here)
            return
        self._shared.settle(ticket.key_id, ticket.slot, ticket.shared_bucket, requests, tokens, told)
        if _is_tight(ticket.limits, self._readings.get(ticket.key_id) or here):
            self.flush()

    def flush(self) -> None:
        """Come back when others know all that was settled here."""
        if self._shared is not None:
            self._shared.flush()

    def renew(self, tickets: Sequence[Ticket]) -> None:
        """Their requests are still running."""
        with self._lock:
            for ticket in tickets:
                self._window(ticket.key_id).renew(time.monotonic(), ticket.slot)
        if self._shared is not None:
            self._shared.renew([(ticket.key_id, ticket.slot) for ticket in tickets])

    def _window(self, key_id: str) -> KeyWindow:
        moment = time.monotonic()
        if moment >= self._sweep_at:
            self._sweep_at = moment + _SWEEP_S
            self._windows = {name: one for name, one in self._windows.items() if not one.is_idle(moment)}
            self._readings = {name: one for name, one in self._readings.items() if name in self._windows}
        return self._windows.setdefault(key_id, KeyWindow())


def _is_tight(limits: KeyLimits, reading: Reading) -> bool:
    """Whether more than half of a limit is used up, or there are few slots left."""
    requests, tokens, parallel = limits.requests_per_minute, limits.tokens_per_minute, limits.parallel_requests
    return (
        (requests is not None and reading.requests * 2 > requests)
        or (tokens is not None and reading.tokens * 2 > tokens)
        or (parallel is not None and (reading.running * 2 > parallel or parallel - reading.running < _FEW))
    )
