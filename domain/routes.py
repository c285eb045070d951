"""Routes: a public model's name stands for targets at providers, tried in order."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_NAME = 200
MAX_WEIGHT = 1000
DEFAULT_ROUTE = "default"  # answers turns that name neither a provider nor a model
_KEYS = {"provider", "model", "weight", "order"}


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a provider. Lower ``order`` is tried first; targets of one order share the turns by ``weight``."""

    provider: str
    model: str
    weight: int = 1
    order: int = 0

    @property
    def name(self) -> str:
        """``provider/model``."""
        return target_name(self.provider, self.model)


@dataclass(frozen=True, slots=True)
class Route:
    """A public model and its targets."""

    name: str
    targets: tuple[Target, ...]

    def for_a_turn(self, random: Callable[[], float]) -> list[Target]:
        """The targets as one turn tries them: by order, and drawn by weight within an order.

        ``random`` gives numbers from 0 to below 1. A target of weight 3 comes before one of weight 1 in three of four.
        """
        return sorted(self.targets, key=lambda target: (target.order, -(random() ** (1 / target.weight))))


class RouteError(ValueError):
    """Declared routes are wrong; ``faults`` has one sentence for each thing that is."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def target_name(provider: str, model: str) -> str:
    """How a target is called wherever it is named in one word."""
    return f"{provider}/{model}"


def read_routes(declared: object, providers: Collection[str]) -> dict[str, Route]:
    """Routes from their declaration: public model -> list of targets.

    A target is ``"provider/model"`` or ``{provider, model, weight?, order?}``. Without ``order``, the targets of a
    route are tried as they are listed. Raises :class:`RouteError` with every fault.
    """
    if not isinstance(declared, Mapping):
        raise RouteError(["routes: must be a table of public model -> list of targets"])
    faults: list[str] = []
    routes = {str(name): Route(str(name), _targets(str(name), given, faults)) for name, given in declared.items()}
    for route in routes.values():
        faults += _faults_of(route, providers)
    if faults:
        raise RouteError(faults)
    return routes


def _targets(name: str, given: object, faults: list[str]) -> tuple[Target, ...]:
    if not isinstance(given, list) or not given:
        faults.append(f"routes.{name}: must be a list of at least one target")
        return ()
    places = [(f"routes.{name}.{position}", _fields(one)) for position, one in enumerate(given, 1)]
    ordered = sum("order" in fields for _, fields in places if fields is not None)
    if ordered not in (0, len(places)):
        faults.append(f"routes.{name}: give all of its targets an order, or none")
    found = [_target(place, fields, position, faults) for position, (place, fields) in enumerate(places)]
    return tuple(target for target in found if target is not None)


def _fields(given: object) -> Mapping[Any, Any] | None:
    if isinstance(given, str):
        provider, _, model = given.partition("/")
        return {"provider": provider, "model": model}
    return given if isinstance(given, Mapping) else None


def _target(place: str, fields: Mapping[Any, Any] | None, position: int, faults: list[str]) -> Target | None:
    if fields is None:
        faults.append(f'{place}: must be "provider/model" or a table of provider, model, weight and order')
        return None
    before = len(faults)
    faults += [f"{place}: unknown key {key!r}" for key in fields if key not in _KEYS]
    for key in ("provider", "model"):
        value = fields.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
            faults.append(f"{place}.{key}: must be a name of 1 to {MAX_NAME} characters")
    weight, order = fields.get("weight", 1), fields.get("order", position)
    if not _is_integer(weight) or not 1 <= weight <= MAX_WEIGHT:
        faults.append(f"{place}.weight: must be an integer from 1 to {MAX_WEIGHT}")
    if not _is_integer(order) or order < 0:
        faults.append(f"{place}.order: must be an integer from 0 on")
    return Target(fields["provider"], fields["model"], weight, order) if len(faults) == before else None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _faults_of(route: Route, providers: Collection[str]) -> list[str]:
    faults = []
    if not 0 < len(route.name) <= MAX_NAME:
        faults.append(f"routes: a public model has a name of 1 to {MAX_NAME} characters")
    unknown = dict.fromkeys(target.provider for target in route.targets if target.provider not in providers)
    faults += [f"routes.{route.name}: there is no provider {name!r}" for name in unknown]
    times = Counter(target.name for target in route.targets)
    faults += [f"routes.{route.name}: {name} is listed {count} times" for name, count in times.items() if count > 1]
    return faults
