"""A request costs no more than the budget file says, and an event neither: counted, so that no machine is too slow.

``UNICHAT_REWRITE_BUDGET=1`` writes the file anew (docs/development.md).
"""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.hot_path import budget
from tests.hot_path.paths import HOT_PATHS, Figures
from tests.hot_path.rig import Rig, running_rig
from tests.servers import MariaDb, Servers

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
REWRITE = os.environ.get(budget.REWRITE) == "1"
# Sockets answer when they do, so calls and switches are not the same each time there.
MARIADB = ("whole", "streamed", "turn", "turn_streamed")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("sqlite") / "node") as rig:
        yield rig


@pytest.fixture(scope="module")
def mariadb(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    database, redis = servers.database("mariadb"), servers.redis()
    assert isinstance(database, MariaDb)
    redis.flush()
    with running_rig(tmp_path_factory.mktemp("mariadb") / "node", database, redis) as rig:
        yield rig


@pytest.mark.parametrize("path", HOT_PATHS)
def test_on_sqlite(sqlite: Rig, path: str) -> None:
    compare("sqlite", path, HOT_PATHS[path].measure(sqlite))


@pytest.mark.parametrize("path", HOT_PATHS)
def test_copies(sqlite: Rig, path: str) -> None:
    if REWRITE or budget.read()[0] == PYTHON:
        compare("sqlite", path, {"long_answer": HOT_PATHS[path].copies(sqlite)})


@pytest.mark.parametrize("path", MARIADB)
def test_on_mariadb_and_redis(mariadb: Rig, path: str) -> None:
    compare("mariadb", path, HOT_PATHS[path].measure(mariadb))


def compare(setup: str, path: str, counted: dict[str, Figures]) -> None:
    python, whole = budget.read()
    if REWRITE:
        whole.setdefault(setup, {}).setdefault(path, {}).update(counted)
        budget.write(PYTHON, whole)
        return
    leave_out = () if python == PYTHON else budget.OF_THE_PYTHON
    found = [
        fault
        for what, figures in counted.items()
        for fault in budget.faults(f"{setup}, {path}, {what}", whole[setup][path][what], figures, leave_out)
    ]
    assert not found, "\n".join([*found, budget.HOW])


def test_more_is_a_fault_and_less_too() -> None:
    written = {"statements": 5, "calls": 1000, "calls_of": {"api": 1000}, "copies": 4.0}

    def told(**counted: float) -> list[str]:
        return budget.faults("whole", written, written | counted)

    assert told() == told(calls=1009, copies=3.8) == []
    assert told(statements=6) == ["whole: statements 6, 1 more than the budget"]
    assert told(statements=4) == ["whole: statements 4, 1 less than the budget"]
    assert told(copies=5.0) == ["whole: copies 5, 1 more than the budget"]
    assert told(threads=1) == ["whole: threads 1, 1 more than the budget"]
    assert told(calls=1020)[0] == "whole: calls 1020, 20 more than the budget"
