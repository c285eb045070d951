"""The routes in force, at hand without a query for each turn."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from domain.routes import Route, Target
from repositories.unit_of_work import UnitOfWork
from services.layered import Layered

Told = Callable[[Iterable[tuple[str, str]]], None]


class RouteBook(Layered[Route]):
    """The declared routes, and those that administrators have set.

    ``told`` hears of the targets, (provider, model), whenever they were read.
    """

    def __init__(self, declared: Mapping[str, Route], told: Told | None = None) -> None:
        super().__init__("routes", declared)
        self._told = told

    def reload(self, uow: UnitOfWork) -> None:
        """Read what administrators have set."""
        self.replace({row.name: Route(row.name, targets_from(row.targets)) for row in uow.routes.all()})
        if self._told is not None:
            self._told((one.provider, one.model) for route in self.values() for one in route.targets)


def targets_from(stored: list[dict[str, Any]]) -> tuple[Target, ...]:
    """The targets in a row."""
    return tuple(Target(one["provider"], one["model"], one["weight"], one["order"]) for one in stored)


def stored_targets(route: Route) -> list[dict[str, Any]]:
    """The targets for a row."""
    return [asdict(target) for target in route.targets]
