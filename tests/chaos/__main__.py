"""`python -m tests.chaos kill9 --streams 200`: a scenario at full size, and its figures."""

import argparse
import inspect
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.arena import Arena, arena
from tests.chaos.figures import Figure
from tests.chaos.scenarios import books, endurance, nodes, providers, readers, stops, stores, storm
from tests.servers import Servers

Scenario = Callable[..., Sequence[Figure]]


@dataclass(frozen=True)
class Entry:
    """A scenario, and the arena that it needs."""

    scenario: Scenario
    needs_redis: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """Its parameters with their values at full size."""
        given = inspect.signature(self.scenario).parameters.values()
        return {one.name: one.default for one in given if one.kind is one.KEYWORD_ONLY}


SCENARIOS = {
    "kill9": Entry(nodes.kill9),
    "frozen": Entry(nodes.frozen_worker),
    "sigterm": Entry(nodes.sigterm),
    "rolling-restart": Entry(nodes.rolling_restart, settings={"TRUSTED_PROXIES": 1}),
    "stops": Entry(stops.stops),
    "cuts": Entry(readers.cuts),
    "redis-stopped": Entry(stores.redis_stopped, needs_redis=True),
    "redis-frozen": Entry(stores.redis_frozen, needs_redis=True),
    "database-stopped": Entry(stores.database_stopped),
    "budget": Entry(books.budget),
    "storm": Entry(storm.storm, settings={"GRACEFUL_TIMEOUT_S": 10}),
    "soak": Entry(endurance.soak),
    "misbehave": Entry(providers.misbehave, settings={"routes": providers.ROUTES} | providers.SETTINGS),
    "provider-down": Entry(providers.provider_down, settings={"routes": providers.ROUTES} | providers.SETTINGS),
}


def main() -> int:
    """Run what was asked for; 0 if every figure holds."""
    options = _parser().parse_args()
    entry = SCENARIOS[options.scenario]
    given = {name: getattr(options, name) for name in entry.parameters()}
    with (
        tempfile.TemporaryDirectory(prefix="unichat-chaos-") as folder,
        closing(Servers()) as servers,
        arena(Path(folder), servers, redis=options.redis or entry.needs_redis, **entry.settings) as place,
    ):
        started = time.monotonic()
        figures = entry.scenario(place, **given)
        _print(options, given, figures, place, time.monotonic() - started)
    return 0 if all(figure.holds for figure in figures) else 1


def _print(
    options: argparse.Namespace, given: dict[str, Any], figures: Sequence[Figure], place: Arena, seconds: float
) -> None:
    sizes = " ".join(f"{name}={value:g}" for name, value in given.items())
    print(f"\n{options.scenario}, Redis {'on' if place.redis else 'off'}, {sizes}: {seconds:.0f} s")
    for figure in figures:
        print(f"  {figure}")
    for case in place.violations()[:20]:
        print(f"  {case}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    commands = parser.add_subparsers(dest="scenario", required=True)
    for name, entry in SCENARIOS.items():
        command = commands.add_parser(name, help=(inspect.getdoc(entry.scenario) or "").partition("\n")[0])
        command.add_argument("--redis", action="store_true", help="the nodes share a Redis")
        for parameter, value in entry.parameters().items():
            command.add_argument(f"--{parameter.replace('_', '-')}", type=type(value), default=value)
    return parser


if __name__ == "__main__":
    sys.exit(main())
