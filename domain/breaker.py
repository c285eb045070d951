"""A circuit breaker's state: pure values, and how one follows from another.

closed (no state) -> open, for an interval -> one probe -> on trial -> closed. A failure of the probe or on trial opens
it again for twice as long.
"""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and for how long (seconds).

    It opens at ``failures`` failures within ``window_s``, if they are at least half of what ended in that time; first
    for ``first_interval_s``, then for twice as long each time up to ``longest_interval_s``.
    """

    failures: int = 5
    window_s: float = 30
    first_interval_s: float = 5
    longest_interval_s: float = 60


class BreakerState(msgspec.Struct, frozen=True):
    """A breaker that is not closed. Moments are seconds on the clock of the store that holds it.

    From ``probe_at`` on one attempt may go out; whoever sends it moves ``probe_at`` on by ``interval``, so that there
    is never more than one probe in an interval, even if its sender dies. ``trial``: a probe was answered, and attempts
    are let through again, until the first whole answer or the first failure.
    """

    reason: str
    interval: float
    probe_at: float
    since: float
    trial: bool = False


def opened(
    before: BreakerState | None, policy: BreakerPolicy, *, reason: str, now: float, wait_s: float = 0
) -> BreakerState:
    """Open, or open again for twice as long. ``wait_s`` is what the provider asked for, if it did."""
    doubled = policy.first_interval_s if before is None else before.interval * 2
    interval = min(doubled, policy.longest_interval_s)
    pause = max(interval, min(wait_s, policy.longest_interval_s))
    return BreakerState(reason, interval, now + pause, now)


def probing(state: BreakerState, now: float) -> BreakerState:
    """The same after a probe was sent."""
    return msgspec.structs.replace(state, probe_at=now + state.interval)


def on_trial(state: BreakerState, now: float) -> BreakerState:
    """The same after the probe began to be answered."""
    return msgspec.structs.replace(state, trial=True, since=now)
