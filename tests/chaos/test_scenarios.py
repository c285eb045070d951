"""The scenarios at a size for every day: what must hold at any speed holds, figures of speed are for the longer run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.arena import Arena, arena
from tests.chaos.figures import Figure
from tests.chaos.scenarios import nodes, stops
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
    assert value(figures, "finished") == value(figures, "interrupted with their partial saved") == 15


def test_stops_at_any_moment_from_any_node(make_arena: ArenaFactory) -> None:
    place = make_arena()

    figures = stops.stops(place, count=20, at_once=20)

    assert place.violations() == []
    assert value(figures, "without an answer") == 0
