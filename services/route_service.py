"""The routes and how their targets stand, as an operator sees and sets them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from adapters.base_adapter import Providers
from domain.clock import now
from domain.errors import Conflict, InvalidInput, NotFound
from domain.principal import Principal
from domain.routes import Route, RouteError, Target, read_routes
from models import RouteEntity
from repositories.unit_of_work import OpenUnitOfWork
from services.circuit_breaker import CircuitBreakers
from services.refresher import Refresher
from services.route_book import RouteBook, stored_targets

log = structlog.get_logger()

BreakerWord = Literal["closed", "open", "half_open", "trial"]
RouteSource = Literal["file", "admin"]


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
    """A public model and its targets, in their order.

    ``locked``: it stands in AI_PROVIDERS_FILE. ``overrides``: an administrator's route of that name is out of force.
    """

    name: str
    targets: Sequence[TargetView]
    source: RouteSource
    locked: bool = False
    overrides: bool = False


@dataclass(frozen=True, slots=True)
class BrokenTarget:
    """A target whose breaker is not closed, in a route or not."""

    target: str
    breaker: BreakerView


class RouteService:
    """Looks at routes and breakers, and sets routes. What AI_PROVIDERS_FILE declares stands."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        providers: Providers,
        routes: RouteBook,
        breakers: CircuitBreakers,
        refresher: Refresher,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._providers = providers
        self._routes = routes
        self._breakers = breakers
        self._refresher = refresher

    def all(self) -> list[RouteView]:
        """Every route in force."""
        return [self._view(route) for route in self._routes.values()]

    def put(self, principal: Principal, name: str, targets: Sequence[Mapping[str, Any]]) -> RouteView:
        """Set a route, in place of the one of its name, for turns that begin from now on.

        Raises InvalidInput with every fault of ``targets``, Conflict ``locked_by_configuration``.
        """
        self._check(principal, name)
        try:
            route = read_routes({name: list(targets)}, self._providers)[name]
        except RouteError as error:
            faults = [fault.removeprefix(f"routes.{name}") for fault in error.faults]
            raise InvalidInput("; ".join(f"targets{fault}" for fault in faults), fields=("targets",)) from None
        row = RouteEntity(name=name, targets=stored_targets(route), updated_by=principal.user_id, updated_at=now())
        with self._unit_of_work() as uow:
            uow.stamps.move("routes")
            uow.routes.put(row)
            uow.commit()
        self._refresher.refresh()
        log.info("route_set", route=name, by=principal.user_id)
        return self._view(route)

    def delete(self, principal: Principal, name: str) -> None:
        """Take a route away. Raises NotFound, Conflict ``locked_by_configuration``."""
        self._check(principal, name)
        with self._unit_of_work() as uow:
            uow.stamps.move("routes")
            if not uow.routes.delete(name):
                raise NotFound("There is no such route.", "route_not_found")
            uow.commit()
        self._refresher.refresh()
        log.info("route_deleted", route=name, by=principal.user_id)

    def broken(self) -> list[BrokenTarget]:
        """Every target whose breaker is not closed."""
        return [BrokenTarget(target, self._breaker(target)) for target in sorted(self._breakers.states())]

    def broken_states(self) -> dict[str, str]:
        """The same in a word each, by target."""
        return {one.target: one.breaker.state for one in self.broken()}

    def _check(self, principal: Principal, name: str) -> None:
        principal.require_admin()
        if name in self._routes.declared:
            raise Conflict("This route is set by AI_PROVIDERS_FILE; change it there.", "locked_by_configuration")

    def _view(self, route: Route) -> RouteView:
        declared = route.name in self._routes.declared
        return RouteView(
            route.name,
            [self._target_view(target) for target in sorted(route.targets, key=lambda one: one.order)],
            "file" if declared else "admin",
            locked=declared,
            overrides=self._routes.overrides(route.name),
        )

    def _target_view(self, target: Target) -> TargetView:
        adapter = self._providers.get(target.provider)
        return TargetView(
            target.provider,
            target.model,
            target.order,
            target.weight,
            adapter is not None and adapter.enabled,
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
