"""The states of breakers, in this process and in Redis: the same contract, and one probe over all nodes."""

import threading
import time

import pytest

from domain.breaker import BreakerPolicy, BreakerState, probing
from repositories.breaker_store import BreakerStore, MemoryBreakerStore
from repositories.redis_breaker_store import RedisBreakerStore
from services.circuit_breaker import Admission, CircuitBreakers
from tests.chats import eventually
from tests.conftest import LinkFactory
from tests.servers import Redis

T = "a/m"
OPEN = BreakerState("429", 5, 100.0, 95.0)
POLICY = BreakerPolicy(failures=2, first_interval_s=0.3, longest_interval_s=0.6)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, link_to: LinkFactory) -> BreakerStore:
    if request.param == "memory":
        return MemoryBreakerStore()
    redis: Redis = request.getfixturevalue("redis")
    return RedisBreakerStore(link_to(redis.url), fresh_s=0)


@pytest.fixture
def nodes(redis: Redis, link_to: LinkFactory) -> list[RedisBreakerStore]:
    """The stores of three nodes on one Redis."""
    return [RedisBreakerStore(link_to(redis.url)) for _ in range(3)]


def test_what_is_put_is_there(store: BreakerStore) -> None:
    assert (store.get(T), dict(store.all())) == (None, {})
    assert store.swap(T, None, OPEN)
    assert (store.get(T), dict(store.all())) == (OPEN, {T: OPEN})
    assert store.swap(T, OPEN, None)
    assert (store.get(T), dict(store.all())) == (None, {})


def test_a_swap_needs_the_present_state(store: BreakerStore) -> None:
    assert not store.swap(T, OPEN, None)
    store.swap(T, None, OPEN)

    assert not store.swap(T, None, OPEN)
    assert not store.swap(T, probing(OPEN, 100), None)
    assert store.get(T) == OPEN


def test_of_many_at_once_one_wins(store: BreakerStore) -> None:
    store.swap(T, None, OPEN)
    store.get(T)
    won = []

    def claim(number: int) -> None:
        if store.swap(T, OPEN, probing(OPEN, 100.0 + number)):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1


def test_the_clock_goes_on(store: BreakerStore) -> None:
    store.get(T)
    earlier = store.now()
    time.sleep(0.02)

    assert 0.01 < store.now() - earlier < 5


# All nodes


def test_the_nodes_have_one_clock(nodes: list[RedisBreakerStore]) -> None:
    nodes[1]._offset -= 1e6
    for node in nodes:
        node.get(T)

    assert max(node.now() for node in nodes) - min(node.now() for node in nodes) < 0.1


def test_others_see_an_open_breaker_within_a_second(nodes: list[RedisBreakerStore]) -> None:
    for node in nodes:
        node.get(T)  # so that what they know is as old as it may be
    nodes[0].swap(T, None, OPEN)
    deadline = time.monotonic() + 1
    while any(node.get(T) != OPEN for node in nodes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_over_all_nodes_one_probe_goes_out_in_an_interval(nodes: list[RedisBreakerStore]) -> None:
    breakers = [CircuitBreakers(node, POLICY) for node in nodes]
    for _ in range(2):
        breakers[0].failed(Admission(T, nodes[0].now()), "timeout")
    opened, probes = time.monotonic(), []
    while time.monotonic() < opened + 2:
        for node in breakers:
            admission = node.admit(T, node.now())
            if admission and admission.probe:
                probes.append(time.monotonic() - opened)
        time.sleep(0.005)

    assert 3 <= len(probes) <= 6
    assert all(later - earlier >= 0.29 for earlier, later in zip([0.0, *probes], probes, strict=False))


def test_a_breaker_that_one_node_closes_is_closed_for_all(nodes: list[RedisBreakerStore]) -> None:
    one, other = CircuitBreakers(nodes[0], POLICY), CircuitBreakers(nodes[1], POLICY)
    for _ in range(2):
        one.failed(Admission(T, nodes[0].now()), "timeout")
    time.sleep(0.9)
    assert other.open_for(T) is None
    probe = other.admit(T, nodes[1].now())
    assert probe is not None
    other.responded(probe)
    other.answered(probe)
    time.sleep(0.6)

    assert (dict(one.states()), one.open_for(T)) == ({}, None)


def test_what_another_version_wrote_is_as_good_as_closed(redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(redis.url)
    link.call(lambda client: client.hset("unichat:breakers", T, '{"strange": true}'))
    store = RedisBreakerStore(link, fresh_s=0)

    assert store.get(T) is None
    assert store.swap(T, None, OPEN)
    assert store.get(T) == OPEN


# Without Redis


def test_each_node_goes_on_alone_when_redis_dies(own_redis: Redis, link_to: LinkFactory) -> None:
    store = RedisBreakerStore(link_to(own_redis.url), fresh_s=0)
    store.swap(T, None, OPEN)
    own_redis.stop()

    assert store.get(T) == OPEN
    assert store.swap(T, OPEN, None)
    assert store.swap("b/m", None, OPEN)
    assert dict(store.all()) == {"b/m": OPEN}


def test_a_redis_that_is_back_counts_again(own_redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(own_redis.url)
    store = RedisBreakerStore(link, fresh_s=0)
    own_redis.stop()
    store.swap(T, None, OPEN)
    own_redis.start_again()
    eventually(lambda: link.away_since is None)

    assert store.get(T) is None
    assert store.swap(T, None, OPEN)
