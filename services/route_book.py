"""The routes in force, at hand without a query for each turn."""

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import asdict
from typing import Any

import structlog

from domain.routes import Route, Target
from repositories.unit_of_work import UnitOfWork

log = structlog.get_logger()

Told = Callable[[Iterable[tuple[str, str]]], None]


class RouteBook(Mapping[str, Route]):
    """The declared routes first, then those that administrators have set, by name.

    ``declared`` are those of AI_PROVIDERS_FILE: what an administrator has set under the name of one is out of force.
    ``told`` hears of the targets, (provider, model), whenever they were read.
    """

    def __init__(self, declared: Mapping[str, Route], told: Told | None = None) -> None:
        self.declared = declared
        self.set_by_hand: Mapping[str, Route] = {}
        self._told = told
        self._current: dict[str, Route] = dict(declared)

    def reload(self, uow: UnitOfWork) -> None:
        """Read what administrators have set."""
        by_hand = {row.name: Route(row.name, targets_from(row.targets)) for row in uow.routes.all()}
        if shadowed := sorted(by_hand.keys() & self.declared.keys()):
            log.warning("routes_out_of_force", names=shadowed, because="AI_PROVIDERS_FILE declares them")
        self.set_by_hand = by_hand
        self._current = {
            **self.declared,
            **{name: route for name, route in by_hand.items() if name not in self.declared},
        }
        if self._told is not None:
            self._told((one.provider, one.model) for route in self._current.values() for one in route.targets)

    def __getitem__(self, name: str) -> Route:
        """The route of a name."""
        return self._current[name]

    def __iter__(self) -> Iterator[str]:
        """The names, as they are now."""
        return iter(self._current)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._current)

    def values(self) -> ValuesView[Route]:
        """The routes, as they are now."""
        return self._current.values()

    def items(self) -> ItemsView[str, Route]:
        """Names and routes, as they are now."""
        return self._current.items()


def targets_from(stored: list[dict[str, Any]]) -> tuple[Target, ...]:
    """The targets in a row."""
    return tuple(Target(one["provider"], one["model"], one["weight"], one["order"]) for one in stored)


def stored_targets(route: Route) -> list[dict[str, Any]]:
    """The targets for a row."""
    return [asdict(target) for target in route.targets]
