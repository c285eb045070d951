"""Metering what API keys use: for this process, and with Redis for all of them."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.api_keys import KeyLimits
from repositories.key_window import KeyWindow, Reading

_SWEEP_S = 60.0


class SharedKeyMeter(Protocol):
    """Meters for all processes together. None, where there is something to tell: it cannot be said now."""

    def hold(self, key_id: str, slot: str, limits: KeyLimits, tokens: int) -> Reading | None:
        """Count a request, and take its slot; see :meth:`KeyWindow.hold`."""

    def settle(self, key_id: str, slot: str, bucket: int | None, requests: int, tokens: int) -> Reading | None:
        """Free the slot, and count the difference; see :meth:`KeyWindow.settle`."""

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
        self._lock = threading.Lock()
        self._sweep_at = time.monotonic() + _SWEEP_S

    def hold(self, key_id: str, slot: str, limits: KeyLimits, tokens: int) -> tuple[Ticket | None, Reading]:
        """Count a request of so many tokens, and take a slot, if every limit allows it; how the key stands then.

        Without a ticket it was refused: see the reading, and nothing was counted.
        """
        reading = self._shared.hold(key_id, slot, limits, tokens) if self._shared else None
        if reading is not None and reading.refused:
            return None, reading
        with self._lock:
            window, moment = self._window(key_id), time.monotonic()
            here = window.hold(moment, slot, limits, tokens) if reading is None else window.add(moment, slot, tokens)
        if here.refused:
            return None, here
        shared_bucket = None if reading is None else reading.bucket
        return Ticket(key_id, slot, limits, tokens, here.bucket, shared_bucket), reading or here

    def settle(self, ticket: Ticket, requests: int, tokens: int) -> Reading:
        """Free the slot, and count so much more, or, where it is negative, less than was held."""
        with self._lock:
            window = self._window(ticket.key_id)
            here = window.settle(time.monotonic(), ticket.slot, ticket.bucket, requests, tokens)
        if self._shared is None:
            return here
        return self._shared.settle(ticket.key_id, ticket.slot, ticket.shared_bucket, requests, tokens) or here

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
        return self._windows.setdefault(key_id, KeyWindow())
