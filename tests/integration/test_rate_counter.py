"""Counting in this process and, where there is one, in Redis."""

import time

from domain.errors import LimitExceeded
from repositories.rate_counter import RateCounter
from repositories.redis_counter import RedisCounter
from repositories.redis_link import RedisLink
from services.login_guard import LoginGuard
from tests.conftest import LinkFactory
from tests.servers import Redis


def test_a_window_ends() -> None:
    counter = RateCounter()

    assert [counter.add("a", 1), counter.add("a", 1), counter.add("b", 1)] == [1, 2, 1]
    assert 0 < counter.seconds_left("a") <= 1
    time.sleep(1.1)
    assert counter.add("a", 1) == 1


def test_what_is_taken_back_does_not_count() -> None:
    counter = RateCounter()
    counter.add("a", 60)
    counter.add("a", 60, -1)

    assert counter.add("a", 60) == 1


def _counter(link: RedisLink) -> RateCounter:
    return RateCounter(RedisCounter(link))


def test_all_processes_count_together_in_redis(redis: Redis, link_to: LinkFactory) -> None:
    one, other = _counter(link_to(redis.url)), _counter(link_to(redis.url))

    assert [one.add("a", 60), other.add("a", 60), one.add("a", 60), other.add("a", 60, -1)] == [1, 2, 3, 2]


def test_a_window_that_others_began_ends_for_all_at_once(redis: Redis, link_to: LinkFactory) -> None:
    one, other = _counter(link_to(redis.url)), _counter(link_to(redis.url))
    one.add("a", 2)
    time.sleep(1)
    other.add("a", 2)

    assert other.seconds_left("a") <= 1.01
    time.sleep(1.1)
    assert [one.add("a", 2), other.add("a", 2)] == [1, 2]


def test_counting_goes_on_from_here_when_redis_dies(own_redis: Redis, link_to: LinkFactory) -> None:
    counter = _counter(link_to(own_redis.url))
    counter.add("a", 60)
    counter.add("a", 60)
    own_redis.stop()

    assert [counter.add("a", 60), counter.add("a", 60)] == [3, 4]


def test_without_a_redis_at_the_start_counting_works_too(link_to: LinkFactory) -> None:
    counter = _counter(link_to("redis://127.0.0.1:1/0"))

    assert [counter.add("a", 60), counter.add("a", 60)] == [1, 2]


def _failures_let_through(guard: LoginGuard, tries: int) -> int:
    for number in range(tries):
        try:
            guard.failed(guard.admit("ada", "192.0.2.1", lambda: False))
        except LimitExceeded:
            return number
    return tries


def test_all_nodes_throttle_guessing_together(redis: Redis, link_to: LinkFactory) -> None:
    one, other = LoginGuard(_counter(link_to(redis.url))), LoginGuard(_counter(link_to(redis.url)))

    assert _failures_let_through(one, 3) == 3
    assert _failures_let_through(other, 10) == 2
    assert _failures_let_through(one, 10) == 0


def test_guessing_is_throttled_while_redis_is_down(own_redis: Redis, link_to: LinkFactory) -> None:
    guard = LoginGuard(_counter(link_to(own_redis.url)))
    assert _failures_let_through(guard, 3) == 3
    own_redis.stop()

    assert _failures_let_through(guard, 10) == 2
