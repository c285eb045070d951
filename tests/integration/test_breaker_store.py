"""The states of breakers, in this process and in Redis: the same contract, and one probe over all nodes."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_client
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.breaker import BreakerPolicy, BreakerState, probing
from repositories.breaker_store import BreakerStore, MemoryBreakerStore
from repositories.redis_breaker_store import RedisBreakerStore
from services.circuit_breaker import Admission, CircuitBreakers
from tests.servers import Redis, Servers

T = "a/m"
OPEN = BreakerState("429", 5, 100.0, 95.0)
POLICY = BreakerPolicy(failures=2, first_interval_s=0.3, longest_interval_s=0.6)


def connect(url: str, **options: Any) -> redis_client.Redis:
    """A client as a node has it: it gives up at once."""
    quick = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25, "retry": Retry(NoBackoff(), 0)}
    return redis_client.Redis.from_url(url, **quick, **options)


@pytest.fixture
def clients() -> Iterator[list[redis_client.Redis]]:
    made: list[redis_client.Redis] = []
    yield made
    for client in made:
        client.close()


@pytest.fixture(params=["memory", "redis", "redis-text"])
def store(request: pytest.FixtureRequest, clients: list[redis_client.Redis]) -> BreakerStore:
    if request.param == "memory":
        return MemoryBreakerStore()
    redis: Redis = request.getfixturevalue("redis")
    clients.append(connect(redis.url, decode_responses=request.param == "redis-text"))
    return RedisBreakerStore(clients[-1], fresh_s=0)


@pytest.fixture
def nodes(redis: Redis, clients: list[redis_client.Redis]) -> list[RedisBreakerStore]:
    """The stores of three nodes on one Redis."""
    clients += [connect(redis.url) for _ in range(3)]
    return [RedisBreakerStore(client) for client in clients]


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


def test_what_another_version_wrote_is_as_good_as_closed(redis: Redis, clients: list[redis_client.Redis]) -> None:
    clients.append(connect(redis.url))
    clients[0].hset("unichat:breakers", T, '{"strange": true}')
    store = RedisBreakerStore(clients[0], fresh_s=0)

    assert store.get(T) is None
    assert store.swap(T, None, OPEN)
    assert store.get(T) == OPEN


# Without Redis


@pytest.fixture
def own_redis(servers: Servers) -> Iterator[Redis]:
    """One that may be killed."""
    redis = Redis()
    yield redis
    redis.close()


def test_each_node_goes_on_alone_when_redis_dies(own_redis: Redis, clients: list[redis_client.Redis]) -> None:
    clients.append(connect(own_redis.url))
    store = RedisBreakerStore(clients[0], fresh_s=0)
    store.swap(T, None, OPEN)
    own_redis.process.kill()
    own_redis.process.wait()

    started = time.monotonic()
    assert store.get(T) == OPEN
    assert store.swap(T, OPEN, None)
    assert store.swap("b/m", None, OPEN)
    assert dict(store.all()) == {"b/m": OPEN}
    assert time.monotonic() - started < 0.5


def test_a_redis_that_hangs_costs_one_timeout(own_redis: Redis, clients: list[redis_client.Redis]) -> None:
    import signal

    clients.append(connect(own_redis.url))
    store = RedisBreakerStore(clients[0], fresh_s=0)
    store.get(T)
    own_redis.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    for _ in range(50):
        store.get(T)
        store.swap(T, store.get(T), OPEN)
    elapsed = time.monotonic() - started
    own_redis.process.send_signal(signal.SIGCONT)

    assert elapsed < 0.4


def test_a_redis_that_is_back_counts_again(own_redis: Redis, clients: list[redis_client.Redis]) -> None:
    clients.append(connect(own_redis.url))
    store = RedisBreakerStore(clients[0], fresh_s=0)
    store._leave_alone(redis_client.ConnectionError())
    store.swap(T, None, OPEN)
    store._away_until = 0

    assert store.get(T) is None
    assert store.swap(T, None, OPEN)
