"""The parts that a worker stands on: its database, and the keeper of its generations."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from domain.observer import Observer
from telemetry.buckets import WAITS


class PartMetrics(Observer):
    """Counts how they are used and how they fail."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waits = Histogram(
            "unichat_database_wait_seconds",
            "Time until a transaction has its connection.",
            buckets=WAITS,
            registry=registry,
        )
        self._failures = Counter(
            "unichat_database_failures",
            "Transactions that the database did not serve. pool_timeout: all connections in use; hangs: not tried.",
            ["kind"],
            registry=registry,
        )
        self._duties = Histogram(
            "unichat_keeper_duty_seconds",
            "Time of the generation keeper's duties; save_texts is the checkpoint.",
            ["duty"],
            buckets=WAITS,
            registry=registry,
        )
        self._duty_failures = Counter(
            "unichat_keeper_failures", "Duties of the generation keeper that failed.", ["duty"], registry=registry
        )

    def connection_taken(self, waited_s: float) -> None:
        """Count it."""
        self._waits.observe(waited_s)

    def database_failed(self, kind: str) -> None:
        """Count it."""
        self._failures.labels(kind).inc()

    def duty_ended(self, duty: str, seconds: float, *, failed: bool) -> None:
        """Count it."""
        self._duties.labels(duty).observe(seconds)
        if failed:
            self._duty_failures.labels(duty).inc()
