"""The scenarios at a size for every day: what must hold at any speed holds, figures of speed are for the longer run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.arena import Arena, arena
from tests.chaos.figures import Figure
from tests.chaos.scenarios import books, nodes, providers, readers, stops, stores
from tests.servers import Servers

pytestmark = pytest.mark.chaos

ArenaFactory = Callable[..., Arena]


@pytest.fixture
def make_arena(tmp_path: Path, servers: Servers) -> Iterator[ArenaFactory]:
    """Makes arenas, which are closed after the test."""
    with ExitStack() as cleanup:
        yield lambda **options: cleanup.enter_context(arena(tmp_path, servers, **options))


def value(figures: Sequence[Figure], name: str) -> float:
    (found,) = (figure.value for figure in figures if figure.name == name)
    return found


def test_a_worker_that_is_killed(make_arena: ArenaFactory) -> None:
    place = make_arena()

    figures = nodes.kill9(place, streams=30)

    assert place.violations() == []
    assert value(figures, "answers that lost their worker") > 0


def test_a_node_that_is_asked_to_go(make_arena: ArenaFactory) -> None:
    place = make_arena(GRACEFUL_TIMEOUT_S=10)

    figures = nodes.sigterm(place, streams=30, graceful_s=10, pace_ms=100)

    assert place.violations() == []
    assert value(figures, "exit code") == 0
    assert (
        value(figures, "finished, some of them before") == value(figures, "interrupted with their partial saved") == 15
    )


def test_nodes_are_restarted_one_after_the_other(make_arena: ArenaFactory) -> None:
    place = make_arena(TRUSTED_PROXIES=1)

    figures = nodes.rolling_restart(place, clients=12, rounds=1)

    assert place.violations() == []
    assert value(figures, "refused, or without an answer") == 0
    assert value(figures, "answers that were not finished") == 0
    assert value(figures, "streams that were cut") == 0


def test_stops_at_any_moment_from_any_node(make_arena: ArenaFactory) -> None:
    place = make_arena()

    figures = stops.stops(place, count=20, at_once=20)

    assert place.violations() == []
    assert value(figures, "without an answer") == 0


@pytest.mark.parametrize("redis", [False, True])
def test_readers_who_are_cut_off_after_each_event(make_arena: ArenaFactory, redis: bool) -> None:
    place = make_arena(redis=redis)

    figures = readers.cuts(place, words=8)

    assert place.violations() == []
    assert [str(figure) for figure in figures if not figure.holds] == []
    assert value(figures, "cuts") > 18


@pytest.mark.parametrize("outage", [stores.redis_stopped, stores.redis_frozen])
def test_redis_is_away(make_arena: ArenaFactory, outage: Callable[..., Sequence[Figure]]) -> None:
    place = make_arena(redis=True)

    figures = outage(place, seconds=2, clients=4, lead_s=1)

    assert place.violations() == []
    assert value(figures, "answers 5xx, or none") == 0


def test_the_database_is_away(make_arena: ArenaFactory) -> None:
    place = make_arena()

    figures = stores.database_stopped(place, seconds=5, streams=10)

    assert place.violations() == []
    assert value(figures, "of them not saved whole") == 0
    assert value(figures, "not refused with 503 and Retry-After") == 0


def test_providers_misbehave(make_arena: ArenaFactory) -> None:
    place = make_arena(nodes=1, routes=providers.ROUTES, **providers.SETTINGS)

    assert [str(figure) for figure in providers.misbehave(place) if not figure.holds] == []


def test_more_turns_than_a_budget_is_for(make_arena: ArenaFactory) -> None:
    figures = books.budget(make_arena(), turns=40, limit=10)

    assert [str(figure) for figure in figures if not figure.holds] == []
