"""Tokens and money, as the ledger has them: every request to a provider, those that failed and those for titles too."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter

from domain.observer import Observer, Settlement
from domain.usage import Usage
from telemetry.children import Children
from telemetry.targets import Targets

_NANO = 1e-9
_TARGET = ["provider", "model"]


class LedgerMetrics(Observer):
    """Counts what is settled, once that is permanent."""

    def __init__(self, registry: CollectorRegistry, targets: Targets) -> None:
        self._targets = targets
        self._tokens = Children(
            Counter(
                "unichat_tokens",
                "Tokens by kind and by who counted them; cached ones are a part of prompt, reasoning of completion.",
                [*_TARGET, "kind", "source"],
                registry=registry,
            )
        )
        self._cost = Children(Counter("unichat_cost_usd", "What the tokens cost, in USD.", _TARGET, registry=registry))
        self._entries = Children(
            Counter(
                "unichat_ledger_entries",
                "Ledger rows by what was asked for and final state; released are those that used nothing known.",
                ["kind", "state"],
                registry=registry,
            )
        )

    def settled(self, settlement: Settlement) -> None:
        """Count it."""
        self._entries.of(settlement.kind, settlement.state).inc()
        usage = settlement.usage
        if usage is None:
            return
        target = self._targets.labels(settlement.provider, settlement.model)
        for kind, count in _counts(usage):
            self._tokens.of(*target, kind, usage.source).inc(count)
        self._cost.of(*target).inc(settlement.cost * _NANO)


def _counts(usage: Usage) -> Iterator[tuple[str, int]]:
    yield "prompt", usage.prompt_tokens
    yield "completion", usage.completion_tokens
    yield "cached", usage.cached_tokens
    yield "reasoning", usage.reasoning_tokens
