"""Identifiers that carry their kind and sort by the time they were made."""

import os
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case: sorts as the number does
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]  # two digits at a time
_SHIFTS = tuple(range(120, -1, -10))  # 26 digits of 5 bits hold the 128 of a UUID


class _Clock:
    """The 60 leading bits of UUIDv7s: milliseconds and a counter, never repeated or going back in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1_000_000 << 12)
            return self._last


_clock = _Clock()


def uuid7() -> int:
    """A UUID version 7 (RFC 9562) as an integer; later calls in one process give larger numbers."""
    tick = _clock.tick()
    milliseconds, counter = tick >> 12, tick & 0xFFF
    random = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    return milliseconds << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | random


def new_id(kind: str) -> str:
    """``<kind>_`` and 26 base-32 digits of a UUIDv7, for instance ``sess_01j9...``."""
    return _written(kind, uuid7())


def id_from(kind: str, digest: bytes) -> str:
    """The id that belongs to a digest of 16 bytes or more: always the same, and in no order."""
    return _written(kind, int.from_bytes(digest[:16]))


def _written(kind: str, number: int) -> str:
    return f"{kind}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"
