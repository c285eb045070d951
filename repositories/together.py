"""What many have to send at the same time to one place goes there together, and nobody waits twice for another."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Place(Generic[T]):
    """One thing in the row. Who waits for it does so at its ``gate``; ``leads``: it is for that one to send now."""

    __slots__ = ("gate", "is_sent", "leads", "thing")

    def __init__(self, thing: T | None, gate: "threading.Lock | None" = None) -> None:  # a type by 3.13 only
        self.thing = thing
        self.gate = gate
        self.is_sent = self.leads = False
        if gate is not None:
            gate.acquire()


class Together(Generic[T]):
    """A row of things to be sent, in their order, by ``send``, which takes ``most`` at a time and raises nothing.

    Whoever comes while nobody sends does it at once, for all in the row; whoever comes meanwhile waits, and the first
    of those who wait sends next. So one alone loses no time, and many make few journeys.
    """

    def __init__(self, send: Callable[[Sequence[T]], None], most: int) -> None:
        self._send = send
        self._most = most
        self._row: deque[_Place[T]] = deque()
        self._is_led = False
        self._lock = threading.Lock()

    def add(self, thing: T) -> None:
        """Have it sent with what comes next."""
        self._row.append(_Place(thing))

    def give(self, thing: T | None = None) -> None:
        """Send it and all before it; without a thing, all that is in the row. Come back when that is done."""
        place = _Place(thing, threading.Lock())
        with self._lock:
            follows, self._is_led = self._is_led, True
            self._row.append(place)
        if follows and not self._wait(place):
            return
        try:
            while not place.is_sent:
                self._send_some()
        finally:
            self._hand_over()

    def _wait(self, place: _Place[T]) -> bool:
        """Until it is sent, or its owner has to send; whether that is so."""
        try:
            place.gate.acquire()  # type: ignore[union-attr]  # it has one
        except BaseException:  # its greenlet ends: somebody else has to lead
            with self._lock:
                place.gate, leads = None, place.leads
            if leads:
                self._hand_over()
            raise
        return place.leads

    def _send_some(self) -> None:
        places: list[_Place[T]] = []
        while self._row and len(places) < self._most:
            places.append(self._row.popleft())
        try:
            if things := [place.thing for place in places if place.thing is not None]:
                self._send(things)
        finally:
            for place in places:
                place.is_sent = True
                if place.gate is not None:
                    place.gate.release()

    def _hand_over(self) -> None:
        with self._lock:
            heir = next((place for place in self._row if place.gate is not None), None)
            self._is_led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.gate.release()  # type: ignore[union-attr]  # it has one
