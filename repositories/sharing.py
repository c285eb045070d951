"""What workers share: all of them, where there is a Redis; without one, each has its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from repositories.breaker_store import BreakerStore, MemoryBreakerStore
from repositories.rate_counter import RateCounter


def _nothing() -> None:
    """There is nothing to close."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The shared parts; ``checks`` tell whether what they stand on works (see HealthService)."""

    counter: RateCounter
    breakers: BreakerStore
    checks: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    close: Callable[[], None] = _nothing


def sharing(redis_url: str) -> Sharing:
    """The parts for one worker."""
    if not redis_url:
        return Sharing(RateCounter(), MemoryBreakerStore())
    # Here, because the package takes 10 MB that an installation without Redis saves.
    from repositories.redis_breaker_store import RedisBreakerStore  # noqa: PLC0415
    from repositories.redis_counter import RedisCounter  # noqa: PLC0415
    from repositories.redis_link import RedisLink  # noqa: PLC0415

    link = RedisLink(redis_url)
    return Sharing(RateCounter(RedisCounter(link)), RedisBreakerStore(link), {"redis": link.check}, link.close)
