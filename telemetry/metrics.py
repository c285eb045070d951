"""All metrics of an application, and their text for Prometheus.

With several workers, each of them writes its figures to files in one folder, and whichever worker is asked adds up all
of them. The library decides for files where PROMETHEUS_MULTIPROC_DIR is set when it is imported: ``gunicorn.conf.py``
makes the folder before it forks.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import structlog
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector

from domain.observer import Observer, Observers
from telemetry.buckets import WAITS
from telemetry.folder import VARIABLE
from telemetry.generation_metrics import GenerationMetrics, ProviderMetrics
from telemetry.http_metrics import HttpMetrics
from telemetry.ledger_metrics import LedgerMetrics
from telemetry.part_metrics import PartMetrics
from telemetry.targets import Targets
from telemetry.worker_state import Readings, WorkerState

log = structlog.get_logger()

_EVERY_S = 2.0


class Metrics:
    """The registry of one application. ``observer`` hears what happens, :meth:`watch` adds what is looked at.

    ``targets`` are the (provider, model) pairs that may become labels. ``offload`` runs what computes for long
    where the event loop need not wait for it. ``others`` hear what this hears.
    """

    def __init__(
        self,
        version: str,
        targets: Iterable[tuple[str, str]],
        offload: Callable[..., bytes],
        others: Sequence[Observer] = (),
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody asks for
        self.registry = CollectorRegistry()
        self._version = version
        self._targets = Targets(targets)
        self._offload = offload
        self._folder = os.environ.get(VARIABLE)
        self._state: WorkerState | None = None
        self._lag = Histogram(
            "unichat_worker_loop_lag_seconds",
            "How late a worker's event loop was: more than milliseconds mean that something blocks it.",
            buckets=WAITS,
            registry=self.registry,
        )
        self.observer: Observer = Observers(
            HttpMetrics(self.registry),
            GenerationMetrics(self.registry, self._targets),
            ProviderMetrics(self.registry, self._targets),
            LedgerMetrics(self.registry, self._targets),
            PartMetrics(self.registry),
            *others,
        )

    def name_targets(self, targets: Iterable[tuple[str, str]]) -> None:
        """More (provider, model) pairs that may become labels."""
        self._targets.add(targets)

    def watch(self, readings: Readings) -> None:
        """Look at these from now on."""
        self._state = WorkerState(self.registry, self._targets, readings, self._version)

    def start(self) -> None:
        """Begin to look, every two seconds. To be called in the process that serves, not before it forks."""
        threading.Thread(target=self._look_forever, name="metrics", daemon=True).start()

    def text(self) -> bytes:
        """The figures of all workers of this node, in Prometheus's text format."""
        self._look()
        if self._folder is None:
            return generate_latest(self.registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody, self._folder)  # type: ignore[no-untyped-call]  # theirs has no types
        return self._offload(generate_latest, everybody)  # it reads files, and holds no lock of ours

    def _look_forever(self) -> None:
        while True:
            due = time.monotonic() + _EVERY_S
            time.sleep(_EVERY_S)
            self._lag.observe(max(0.0, time.monotonic() - due))
            self._look()

    def _look(self) -> None:
        try:
            if self._state is not None:
                self._state.read()
        except Exception:
            log.exception("metrics_not_read")  # a figure that is missing must not cost the others
