"""Generations and the providers behind them: outcomes and times."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from domain.observer import AttemptEnd, GenerationEnd, Observer
from telemetry.buckets import SECONDS
from telemetry.children import Children
from telemetry.targets import Codes, Targets

_TARGET = ["provider", "model"]


class GenerationMetrics(Observer):
    """Counts each generation once, where its final state is saved."""

    def __init__(self, registry: CollectorRegistry, targets: Targets) -> None:
        self._targets = targets
        self._codes = Codes()
        self._ended = Children(
            Counter(
                "unichat_generations",
                "Generations that have ended, by status and end reason; node_lost are those of workers that died.",
                [*_TARGET, "status", "end_reason"],
                registry=registry,
            )
        )
        self._failures = Children(
            Counter(
                "unichat_generation_failures",
                "Generations without an answer, by the error's code.",
                [*_TARGET, "code"],
                registry=registry,
            )
        )
        self._seconds = Children(
            Histogram(
                "unichat_generation_seconds",
                "Time from a turn's beginning to its answer's end.",
                _TARGET,
                buckets=SECONDS,
                registry=registry,
            )
        )
        self._first_token = Children(
            Histogram(
                "unichat_generation_first_token_seconds",
                "Time from a turn's beginning to the first token, with all retries and waits.",
                _TARGET,
                buckets=SECONDS,
                registry=registry,
            )
        )

    def generation_ended(self, end: GenerationEnd) -> None:
        """Count it."""
        target = self._targets.labels(end.provider, end.model)
        self._ended.of(*target, end.status, end.end_reason).inc()
        self._seconds.of(*target).observe(end.seconds)
        if end.first_token_s is not None:
            self._first_token.of(*target).observe(max(0.0, end.first_token_s))
        if end.code:
            self._failures.of(*target, self._codes.label(end.code)).inc()


class ProviderMetrics(Observer):
    """Counts every request to a provider, those that were retried too."""

    def __init__(self, registry: CollectorRegistry, targets: Targets) -> None:
        self._targets = targets
        self._codes = Codes()
        self._calls = Children(
            Counter(
                "unichat_provider_calls",
                "Requests to providers by outcome (answered, failed, stopped) and error code.",
                [*_TARGET, "outcome", "code"],
                registry=registry,
            )
        )
        self._repeats = Children(
            Counter(
                "unichat_provider_repeats",
                "Requests that were sent because an earlier one had failed: retry (same target) or failover.",
                [*_TARGET, "kind"],
                registry=registry,
            )
        )
        self._seconds = Children(
            Histogram(
                "unichat_provider_call_seconds",
                "Time of one request to a provider, to its end.",
                _TARGET,
                buckets=SECONDS,
                registry=registry,
            )
        )
        self._first_token = Children(
            Histogram(
                "unichat_provider_first_token_seconds",
                "Time of one request to a provider, to its first token.",
                _TARGET,
                buckets=SECONDS,
                registry=registry,
            )
        )

    def attempt_ended(self, end: AttemptEnd) -> None:
        """Count it."""
        target = self._targets.labels(end.provider, end.model)
        self._calls.of(*target, end.outcome, self._codes.label(end.code)).inc()
        self._seconds.of(*target).observe(end.seconds)
        if end.first_token_s is not None:
            self._first_token.of(*target).observe(end.first_token_s)
        if end.repeats:
            self._repeats.of(*target, end.repeats).inc()
