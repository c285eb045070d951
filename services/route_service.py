"""The routes and how their targets stand, as an operator sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from adapters.base_adapter import Providers
from domain.routes import Route, Target
from services.circuit_breaker import CircuitBreakers

BreakerWord = Literal["closed", "open", "half_open", "trial"]


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker: ``reason`` of the last failure that opened it, ``retry_in`` seconds until the next probe."""

    state: BreakerWord
    reason: str | None = None
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class TargetView:
    """A target. ``configured``: its provider can be called at all."""

    provider: str
    model: str
    order: int
    weight: int
    configured: bool
    breaker: BreakerView


@dataclass(frozen=True, slots=True)
class RouteView:
    """A public model and its targets, in their order."""

    name: str
    targets: Sequence[TargetView]


@dataclass(frozen=True, slots=True)
class BrokenTarget:
    """A target whose breaker is not closed, in a route or not."""

    target: str
    breaker: BreakerView


class RouteService:
    """Looks at routes and breakers."""

    def __init__(self, providers: Providers, routes: Mapping[str, Route], breakers: CircuitBreakers) -> None:
        self._enabled = {name for name, adapter in providers.items() if adapter.enabled}
        self._routes = routes
        self._breakers = breakers

    def all(self) -> list[RouteView]:
        """Every declared route."""
        return [
            RouteView(route.name, [self._view(target) for target in sorted(route.targets, key=lambda one: one.order)])
            for route in self._routes.values()
        ]

    def broken(self) -> list[BrokenTarget]:
        """Every target whose breaker is not closed."""
        return [BrokenTarget(target, self._breaker(target)) for target in sorted(self._breakers.states())]

    def broken_states(self) -> dict[str, str]:
        """The same in a word each, by target."""
        return {one.target: one.breaker.state for one in self.broken()}

    def _view(self, target: Target) -> TargetView:
        return TargetView(
            target.provider,
            target.model,
            target.order,
            target.weight,
            target.provider in self._enabled,
            self._breaker(target.name),
        )

    def _breaker(self, target: str) -> BreakerView:
        state = self._breakers.states().get(target)
        if state is None:
            return BreakerView("closed")
        if state.trial:
            return BreakerView("trial", state.reason)
        left = state.probe_at - self._breakers.now()
        return BreakerView("open" if left > 0 else "half_open", state.reason, max(0.0, left))
