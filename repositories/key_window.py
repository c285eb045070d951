"""What one API key has used within the last minute, and what runs with it now: the counting itself, without a clock."""

from dataclasses import dataclass
from typing import Literal

from domain.api_keys import KeyLimits

WINDOW_S = 60
BUCKET_S = 0.25  # what leaves the window leaves it so much too late at most: never too early
BUCKETS = int(WINDOW_S / BUCKET_S)  # that a whole window has beside the present one
LEASE_S = 12.0  # of a slot, unless it is renewed
Measure = Literal["requests", "tokens", "parallel"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a key stands: used in the window that ends now, and running now.

    ``reset_s``: until nothing counts any more of what does now. ``bucket``: where a hold is counted. ``refused`` names
    the limit that did not allow it, ``retry_s`` when that will, if nothing else is asked meanwhile.
    """

    requests: int
    tokens: int
    running: int
    reset_s: float
    bucket: int
    refused: Measure | None = None
    retry_s: float = 0.0


class KeyWindow:
    """One key. ``moment`` is in seconds, by a clock that never goes back.

    A request counts in the bucket of the moment in which it was let in, until the whole bucket is older than the
    window. So no 60 seconds hold more than a limit, and what is lost is a bucket's width.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, list[int]] = {}  # number -> [requests, tokens], oldest first
        self._slots: dict[str, float] = {}  # -> when it frees itself
        self._requests = self._tokens = 0

    def hold(self, moment: float, slot: str, limits: KeyLimits, tokens: int) -> Reading:
        """Count a request, and take a slot if those are limited; or, if a limit does not allow it, do nothing."""
        self._pass_to(moment)
        if refusal := self._refusal(moment, limits, tokens):
            return self._reading(moment, *refusal)
        return self.add(moment, slot, tokens)

    def add(self, moment: float, slot: str, tokens: int) -> Reading:
        """Count a request that somebody else has let in."""
        self._pass_to(moment)
        self._count(_bucket(moment), 1, tokens)
        self._slots[slot] = moment + LEASE_S
        return self._reading(moment)

    def settle(self, moment: float, slot: str, bucket: int, requests: int, tokens: int) -> Reading:
        """Free the slot, and count so much more. What is negative is given back to ``bucket``, if that still counts."""
        self._pass_to(moment)
        self._slots.pop(slot, None)
        self._count(_bucket(moment), 0, max(0, tokens))
        if bucket in self._buckets:
            self._count(bucket, requests, min(0, tokens))
        return self._reading(moment)

    def renew(self, moment: float, slot: str) -> None:
        """The slot is in use for another while."""
        self._slots.pop(slot, None)  # they lie in the order in which they end
        self._slots[slot] = moment + LEASE_S

    def is_idle(self, moment: float) -> bool:
        """Whether nothing counts and nothing runs."""
        self._pass_to(moment)
        return not self._buckets and not self._slots

    def _count(self, bucket: int, requests: int, tokens: int) -> None:
        if requests or tokens:
            counts = self._buckets.setdefault(bucket, [0, 0])
            counts[0] += requests
            counts[1] += tokens
            self._requests += requests
            self._tokens += tokens

    def _pass_to(self, moment: float) -> None:
        first = _bucket(moment) - BUCKETS
        while (oldest := next(iter(self._buckets), first)) < first:
            requests, tokens = self._buckets.pop(oldest)
            self._requests -= requests
            self._tokens -= tokens
        while (slot := next(iter(self._slots), None)) and self._slots[slot] <= moment:
            del self._slots[slot]

    def _refusal(self, moment: float, limits: KeyLimits, tokens: int) -> tuple[Measure, float] | None:
        """The limit that will not allow it for longest, and for how many seconds."""
        waits: list[tuple[float, Measure]] = []
        most = limits.requests_per_minute
        if most is not None and self._requests + 1 > most:
            waits.append((self._wait(moment, 0, self._requests + 1 - most), "requests"))
        most = limits.tokens_per_minute
        if most is not None and self._tokens + tokens > most:
            waits.append((self._wait(moment, 1, self._tokens + tokens - most), "tokens"))
        if waits:
            seconds, measure = max(waits, key=lambda wait: wait[0])
            return measure, seconds
        if limits.parallel_requests is not None and len(self._slots) >= limits.parallel_requests:
            return "parallel", 1.0
        return None

    def _wait(self, moment: float, column: int, need: int) -> float:
        """Seconds until ``need`` of what counts has left the window."""
        for bucket, counts in self._buckets.items():
            need -= counts[column]
            if need <= 0:
                return _leaves_at(bucket) - moment
        return WINDOW_S

    def _reading(self, moment: float, refused: Measure | None = None, retry_s: float = 0.0) -> Reading:
        reset_s = _leaves_at(next(reversed(self._buckets))) - moment if self._requests or self._tokens else 0.0
        running, bucket = len(self._slots), _bucket(moment)
        return Reading(self._requests, self._tokens, running, reset_s, bucket, refused, retry_s)


def _bucket(moment: float) -> int:
    return int(moment // BUCKET_S)


def _leaves_at(bucket: int) -> float:
    return (bucket + 1 + BUCKETS) * BUCKET_S
