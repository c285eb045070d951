"""What workers share: all of them, where there is a Redis; without one, each has its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from repositories.breaker_store import BreakerStore, MemoryBreakerStore
from repositories.event_log import EventLog
from repositories.key_meter import KeyMeter
from repositories.memory_event_log import MemoryEventLog
from repositories.rate_counter import RateCounter
from repositories.signals import NoSignals, Signals


def _nothing() -> None:
    """There is nothing to close."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The shared parts, for ``worker``; ``checks`` tell whether what they stand on works (see HealthService).

    ``lags``: for how many seconds something of the event log has been waiting, on its way out and in.
    """

    worker: str
    counter: RateCounter
    key_meter: KeyMeter
    breakers: BreakerStore
    event_log: EventLog
    signals: Signals
    checks: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    lags: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    close: Callable[[], None] = _nothing


def sharing(redis_url: str, worker: str) -> Sharing:
    """The parts for one worker, which has a name that no other ever had."""
    if not redis_url:
        return Sharing(worker, RateCounter(), KeyMeter(), MemoryBreakerStore(), MemoryEventLog(), NoSignals())
    # Here, because the package takes 10 MB that an installation without Redis saves.
    from repositories.redis_breaker_store import RedisBreakerStore  # noqa: PLC0415
    from repositories.redis_counter import RedisCounter  # noqa: PLC0415
    from repositories.redis_event_log import RedisEventLog  # noqa: PLC0415
    from repositories.redis_key_meter import RedisKeyMeter  # noqa: PLC0415
    from repositories.redis_link import RedisLink  # noqa: PLC0415

    link = RedisLink(redis_url)
    event_log = RedisEventLog(link, worker)
    event_log.tail.start()

    def close() -> None:
        event_log.close()
        link.close()

    return Sharing(
        worker=worker,
        counter=RateCounter(RedisCounter(link)),
        key_meter=KeyMeter(RedisKeyMeter(link)),
        breakers=RedisBreakerStore(link),
        event_log=event_log,
        signals=event_log.signals,
        checks={"redis": link.check},
        lags={"out": lambda: event_log.outbox.lag_s, "in": lambda: event_log.tail.lag_s},
        close=close,
    )
