"""The state of a worker, looked at from time to time: cheaper than to count each change, and right when it is read."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from domain.errors import Unavailable
from telemetry import process
from telemetry.targets import Targets

_BREAKER = {"closed": 0, "trial": 1, "half_open": 2, "open": 3}


@dataclass(frozen=True, slots=True)
class Readings:
    """Where the state of a worker is read.

    ``connections`` gives used and most, ``breakers`` the word per target; ``helpers`` are asked by name, and raise
    :class:`Unavailable` while the worker does without them; ``lags`` are those of the event log, in seconds.
    """

    generations: Callable[[], int]
    connections: Callable[[], tuple[int, int]]
    breakers: Callable[[], Mapping[str, str]]
    helpers: Mapping[str, Callable[[], None]]
    lags: Mapping[str, Callable[[], float]]


class WorkerState:
    """The gauges of one worker."""

    def __init__(self, registry: CollectorRegistry, targets: Targets, readings: Readings, version: str) -> None:
        self._readings = readings
        self._targets = targets

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, multiprocess_mode="livesum", registry=registry)

        self._generations = gauge("unichat_generations_running", "Generations that run now.")
        self._used = gauge("unichat_database_connections_used", "Database connections in use.")
        self._most = gauge("unichat_database_connections_max", "Database connections that may be in use at most.")
        self._resident = gauge("unichat_worker_resident_bytes", "Memory of the workers.")
        self._descriptors = gauge("unichat_worker_open_fds", "Open file descriptors of the workers.")
        gauge("unichat_workers", "Workers that live.").set(1)
        self._cpu = Counter("unichat_worker_cpu_seconds", "CPU time of the workers.", registry=registry)
        self._cpu_seen = 0.0
        self._helpers = Gauge(
            "unichat_helper_up",
            "Whether a part answers without which the node is degraded.",
            ["part"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._lags = Gauge(
            "unichat_event_log_lag_seconds",
            "For how long something has been waiting on its way to Redis (out), or Redis to be heard (in).",
            ["way"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._breakers = Gauge(
            "unichat_breaker_state",
            "Circuit breaker of a target: 0 closed, 1 on trial, 2 half open, 3 open.",
            ["provider", "model"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        Gauge(
            "unichat_build_info",
            "The version that runs.",
            ["version", "python"],
            multiprocess_mode="livemax",
            registry=registry,
        ).labels(version, platform.python_version()).set(1)

    def read(self) -> None:
        """Look at everything now."""
        self._generations.set(self._readings.generations())
        used, most = self._readings.connections()
        self._used.set(used)
        self._most.set(most)
        self._resident.set(process.resident_bytes())
        self._descriptors.set(process.open_descriptors())
        cpu = time.process_time()
        self._cpu.inc(cpu - self._cpu_seen)
        self._cpu_seen = cpu
        self._read_breakers()
        for name, check in self._readings.helpers.items():
            self._helpers.labels(name).set(_answers(check))
        for way, lag in self._readings.lags.items():
            self._lags.labels(way).set(lag())

    def _read_breakers(self) -> None:
        worst = dict.fromkeys(self._targets.known, 0)
        for target, word in self._readings.breakers().items():
            provider, _, model = target.partition("/")
            labels = self._targets.labels(provider, model)
            worst[labels] = max(worst.get(labels, 0), _BREAKER[word])
        for labels, state in worst.items():
            self._breakers.labels(*labels).set(state)


def _answers(check: Callable[[], None]) -> bool:
    try:
        check()
    except Unavailable:
        return False
    return True
