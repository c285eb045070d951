"""Counting in this process and, where there is one, in Redis."""

import time
from collections.abc import Iterator

import pytest

from domain.errors import LimitExceeded
from repositories.rate_counter import RateCounter
from services.login_guard import LoginGuard
from tests.servers import Redis


@pytest.fixture
def mortal_redis() -> Iterator[Redis]:
    """A Redis of this test's own, which may be killed."""
    server = Redis()
    yield server
    server.close()


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


def test_all_processes_count_together_in_redis(redis: Redis) -> None:
    one, other = RateCounter(redis.url), RateCounter(redis.url)

    assert [one.add("a", 60), other.add("a", 60), one.add("a", 60), other.add("a", 60, -1)] == [1, 2, 3, 2]


def test_counting_goes_on_from_here_when_redis_dies(mortal_redis: Redis) -> None:
    counter = RateCounter(mortal_redis.url)
    counter.add("a", 60)
    counter.add("a", 60)
    mortal_redis.close()

    assert [counter.add("a", 60), counter.add("a", 60)] == [3, 4]


def test_without_a_redis_at_the_start_counting_works_too() -> None:
    counter = RateCounter("redis://127.0.0.1:1/0")

    assert [counter.add("a", 60), counter.add("a", 60)] == [1, 2]


def _failures_let_through(guard: LoginGuard, tries: int) -> int:
    for number in range(tries):
        try:
            guard.failed(guard.admit("ada", "192.0.2.1", lambda: False))
        except LimitExceeded:
            return number
    return tries


def test_all_nodes_throttle_guessing_together(redis: Redis) -> None:
    one, other = LoginGuard(RateCounter(redis.url)), LoginGuard(RateCounter(redis.url))

    assert _failures_let_through(one, 3) == 3
    assert _failures_let_through(other, 10) == 2
    assert _failures_let_through(one, 10) == 0


def test_guessing_is_throttled_while_redis_is_down(mortal_redis: Redis) -> None:
    guard = LoginGuard(RateCounter(mortal_redis.url))
    assert _failures_let_through(guard, 3) == 3
    mortal_redis.close()

    assert _failures_let_through(guard, 10) == 2
