"""The link to Redis: one breaker for all, no wait for a Redis that is known to be away, and recovery by itself."""

import time

import pytest
import redis as redis_client
from flask_openapi import OpenAPI

from domain.errors import Unavailable
from repositories.redis_link import RedisLink
from tests.actors import ok, set_up
from tests.chats import eventually
from tests.conftest import AppFactory, LinkFactory
from tests.races import at_once
from tests.servers import Redis


def _ask(link: RedisLink) -> float:
    """The seconds that a refusal takes."""
    started = time.monotonic()
    with pytest.raises(Unavailable):
        link.check()
    return time.monotonic() - started


def test_what_redis_answers_is_passed_on(redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(redis.url)
    link.check()

    assert link.call(lambda client: client.incrby("a", 3)) == 3
    assert link.away_since is None


def test_after_one_timeout_nobody_waits_for_a_frozen_redis(own_redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(own_redis.url)
    link.check()
    own_redis.freeze()

    waits = at_once(*[lambda: _ask(link)] * 100)
    later = [_ask(link) for _ in range(1000)]
    own_redis.thaw()

    assert max(waits) < 5
    assert link.away_since is not None
    assert sum(later) < 5


def test_it_is_found_again_when_it_thaws(own_redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(own_redis.url)
    own_redis.freeze()
    _ask(link)
    time.sleep(1.5)  # some probes find nothing
    assert link.away_since is not None
    own_redis.thaw()

    eventually(lambda: link.away_since is None)
    link.check()


def test_it_is_found_again_when_it_has_been_started_anew(own_redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(own_redis.url)
    own_redis.stop()
    _ask(link)
    own_redis.start_again()

    eventually(lambda: link.away_since is None)
    assert link.call(lambda client: client.incr("a")) == 1


def test_a_refusal_is_no_outage(redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(redis.url)
    link.call(lambda client: client.set("text", "abc"))

    with pytest.raises(Unavailable):
        link.call(lambda client: client.incr("text"))

    assert link.away_since is None
    link.check()


def test_many_at_once_are_all_answered(redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(redis.url)

    totals = at_once(*[lambda: int(link.call(lambda client: client.incr("a")))] * 200)

    assert sorted(totals) == list(range(1, 201))


def test_a_connection_that_the_server_has_closed_is_made_anew(redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(redis.url)
    link.check()
    other = redis_client.Redis.from_url(redis.url)
    other.client_kill_filter(skipme=True, _type="normal")
    other.close()

    link.check()


# The whole node


@pytest.fixture
def app(make_app: AppFactory, own_redis: Redis) -> OpenAPI:
    return make_app(REDIS_URL=own_redis.url, RATE_LIMIT="10000 per minute", RATE_LIMIT_CHAT="10000 per minute")


def test_a_node_without_its_redis_is_ready_and_says_what_is_missing(app: OpenAPI, own_redis: Redis) -> None:
    user = set_up(app)
    assert set(ok(user.get("/readyz"))["parts"].values()) == {"ok"}

    own_redis.stop()

    assert ok(user.get("/readyz"))["parts"]["redis"].startswith("degraded: ")
    assert ok(user.post("/api/v1/chat", {"message": "hello"}))["message"]["status"] == "completed"
    own_redis.start_again()
    eventually(lambda: ok(user.get("/readyz"))["parts"]["redis"] == "ok")


def test_a_frozen_redis_fails_no_request(app: OpenAPI, own_redis: Redis) -> None:
    user = set_up(app)
    own_redis.freeze()

    answers = [user.post("/api/v1/chat", {"message": "hello"}).status_code for _ in range(5)]
    own_redis.thaw()

    assert answers == [200] * 5


def test_what_is_asked_while_the_link_closes_ends_as_unavailable(redis: Redis) -> None:
    link = RedisLink(redis.url)

    def wait() -> None:
        with pytest.raises(Unavailable):
            link.call(lambda client: client.blpop(["unichat:test:nothing"], timeout=5))

    def close() -> None:
        time.sleep(0.1)
        link.close()

    at_once(wait, close)
