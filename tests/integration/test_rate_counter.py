"""Counting in this process and, where there is one, in Redis."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repositories.rate_counter import RateCounter


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis of this test's own: its URL and its process."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server")
    socket = tmp_path / "redis.sock"
    arguments = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        while not socket.exists():
            time.sleep(0.01)
        yield f"redis+unix://{socket}", process
        process.kill()


def test_a_window_ends() -> None:
    counter = RateCounter("")

    assert [counter.add("a", 1), counter.add("a", 1), counter.add("b", 1)] == [1, 2, 1]
    assert 0 < counter.seconds_left("a") <= 1
    time.sleep(1.1)
    assert counter.add("a", 1) == 1


def test_what_is_taken_back_does_not_count() -> None:
    counter = RateCounter("")
    counter.add("a", 60)
    counter.add("a", 60, -1)

    assert counter.add("a", 60) == 1


def test_all_processes_count_together_in_redis(redis: tuple[str, subprocess.Popen[bytes]]) -> None:
    one, other = RateCounter(redis[0]), RateCounter(redis[0])

    assert [one.add("a", 60), other.add("a", 60), one.add("a", 60), other.add("a", 60, -1)] == [1, 2, 3, 2]


def test_counting_goes_on_from_here_when_redis_dies(redis: tuple[str, subprocess.Popen[bytes]]) -> None:
    counter = RateCounter(redis[0])
    counter.add("a", 60)
    counter.add("a", 60)
    redis[1].kill()
    redis[1].wait()

    assert [counter.add("a", 60), counter.add("a", 60)] == [3, 4]


def test_without_a_redis_at_the_start_counting_works_too(tmp_path: Path) -> None:
    counter = RateCounter(f"redis+unix://{tmp_path}/nobody.sock")

    assert [counter.add("a", 60), counter.add("a", 60)] == [1, 2]
