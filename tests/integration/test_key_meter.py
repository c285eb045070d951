"""Limits of API keys over several workers, metered in a real Redis."""

import random
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from domain.api_keys import KeyGrant, KeyLimits
from domain.errors import LimitExceeded
from domain.identifiers import new_id
from repositories.key_meter import KeyMeter
from repositories.key_window import LEASE_S, KeyWindow, Reading
from repositories.redis_key_meter import RedisKeyMeter
from repositories.redis_link import RedisLink
from services.key_limiter import Held, KeyLimiter
from tests.chats import eventually
from tests.conftest import LinkFactory
from tests.races import at_once
from tests.servers import ROOT, Redis

Worker = Callable[[], KeyLimiter]


@pytest.fixture
def worker(redis: Redis, link_to: LinkFactory) -> Worker:
    """Makes another worker's limiter, on the same Redis."""
    return lambda: KeyLimiter(KeyMeter(RedisKeyMeter(link_to(redis.url))))


def key(**limits: int) -> KeyGrant:
    """A key of this test's own: workers of others may live on, and renew what they hold in the Redis of all."""
    return KeyGrant(new_id("key"), frozenset(), limits=KeyLimits(**limits))


def attempt(limiter: KeyLimiter, grant: KeyGrant, tokens: int = 0) -> Held | None:
    try:
        return limiter.hold(grant, tokens)
    except LimitExceeded:
        return None


def code(limiter: KeyLimiter, grant: KeyGrant, tokens: int = 0) -> str:
    with pytest.raises(LimitExceeded) as caught:
        limiter.hold(grant, tokens)
    return caught.value.error_code


def test_parallel_calls_at_two_workers_use_the_tokens_of_a_minute_up_and_no_more(worker: Worker) -> None:
    workers, grant = (worker(), worker()), key(tokens_per_minute=100)

    held = [one for one in at_once(*[lambda at=at: attempt(workers[at % 2], grant, 20) for at in range(16)]) if one]

    assert len(held) == 5
    for one in held:
        one.settle(20)
    assert [code(one, grant, 1) for one in workers] == ["key_tokens_limited"] * 2


def test_what_one_worker_gives_back_another_may_use(worker: Worker) -> None:
    (here, there), grant = (worker(), worker()), key(tokens_per_minute=100)
    held = here.hold(grant, 100)
    assert code(there, grant, 1) == "key_tokens_limited"

    held.settle(15)

    assert attempt(there, grant, 86) is None
    assert attempt(there, grant, 85) is not None
    assert code(here, grant, 1) == "key_tokens_limited"


def test_the_parallel_limit_is_one_for_all_workers(worker: Worker) -> None:
    workers, grant = (worker(), worker()), key(parallel_requests=3)

    held = [one for one in at_once(*[lambda at=at: attempt(workers[at % 2], grant) for at in range(12)]) if one]

    assert len(held) == 3
    assert [code(one, grant) for one in workers] == ["key_parallel_limited"] * 2
    held.pop().settle(0)
    assert [attempt(one, grant) is not None for one in workers] == [True, False]


def test_a_refused_request_costs_nothing_at_any_worker(worker: Worker) -> None:
    (here, there), grant = (worker(), worker()), key(requests_per_minute=10, tokens_per_minute=50)
    first = here.hold(grant, 50)
    assert {code(one, grant, 50) for one in (here, there) * 20} == {"key_tokens_limited"}

    first.settle(0)
    for _ in range(8):
        there.hold(grant, 50).settle(0)
    with pytest.raises(ZeroDivisionError), here.hold(grant, 50):
        _ = 1 // 0
    assert here.hold(grant, 0).standing is not None

    assert code(there, grant) == "key_requests_limited"


def test_no_second_ever_lets_in_more_than_its_limit(redis: Redis, link_to: LinkFactory) -> None:
    """With a window of one second, by Redis's clock before and after each call."""
    limits, window_s = KeyLimits(requests_per_minute=40, tokens_per_minute=300), 1
    links = [link_to(redis.url) for _ in range(4)]
    until = _clock(links[0]) + 3.5

    def hammer(link: RedisLink) -> list[tuple[float, float, int]]:
        meter, dice, let_in = RedisKeyMeter(link, window_s), random.Random(id(link)), []
        while (before := _clock(link)) < until:
            tokens = dice.randint(1, 40)
            reading = meter.hold("key_1", f"slot_{before}", limits, tokens)
            assert reading is not None
            if not reading.refused:
                let_in.append((before, _clock(link), tokens))
                if dice.random() < 0.5:
                    meter.settle("key_1", f"slot_{before}", reading.bucket, 0, 0)
        return let_in

    calls = sorted(call for calls in at_once(*[lambda link=link: hammer(link) for link in links]) for call in calls)

    for start, _, _ in calls:
        within = [tokens for before, after, tokens in calls if before >= start and after < start + window_s]
        assert len(within) <= 40
        assert sum(within) <= 300
    assert sum(tokens for _, _, tokens in calls) > 300, "later windows had nothing"


def _clock(link: RedisLink) -> float:
    seconds, microseconds = link.call(lambda client: client.time())
    return float(seconds) + microseconds / 1e6


@pytest.mark.parametrize("seed", range(3))
def test_redis_counts_as_the_window_does(redis: Redis, link_to: LinkFactory, seed: int) -> None:
    """The same calls give the same answers, whoever meters."""
    dice, meter, window = random.Random(seed), RedisKeyMeter(link_to(redis.url)), KeyWindow()
    limits, open_ones = KeyLimits(60, 1000, 5), []
    for number in range(300):
        if open_ones and dice.random() < 0.6:
            slot, theirs, ours = open_ones.pop(dice.randrange(len(open_ones)))
            requests, tokens = dice.choice([(-1, -10), (0, -10), (0, 0), (0, 7)])
            readings: list[Reading] = []
            meter.settle("key_1", slot, theirs, requests, tokens, readings.append)
            meter.flush()
            (told,) = readings
            here = window.settle(0.0, slot, ours, requests, tokens)
        else:
            slot, tokens = f"slot_{number}", dice.randint(10, 150)
            told, here = meter.hold("key_1", slot, limits, tokens), window.hold(0.0, slot, limits, tokens)
            assert told is not None
            assert told.refused == here.refused or {told.refused, here.refused} == {"requests", "tokens"}
            if not told.refused:
                open_ones.append((slot, told.bucket, here.bucket))
        assert told is not None
        assert (told.requests, told.tokens, told.running) == (here.requests, here.tokens, here.running)


def test_what_is_settled_while_there_is_plenty_is_known_to_others_a_moment_later(worker: Worker) -> None:
    (here, there), grant = (worker(), worker()), key(requests_per_minute=10**6, tokens_per_minute=10**6)
    held = here.hold(grant, 1000)
    held.settle(10)

    def told() -> int:
        standing = there.hold(grant, 0).standing
        assert standing is not None
        assert standing.tokens is not None
        return standing.tokens.used

    eventually(lambda: told() == 10, seconds=1)
    assert (standing := here.standing(grant).tokens) is not None
    assert standing.used == 10, "who settled has not heard how the key stands"


def test_a_hold_comes_after_all_that_was_settled_before_it(redis: Redis, link_to: LinkFactory) -> None:
    meter, limits = RedisKeyMeter(link_to(redis.url)), KeyLimits(tokens_per_minute=100)
    for number in range(300):  # more than go in one script
        held = meter.hold("key_1", f"slot_{number}", limits, 100)
        assert held is not None
        assert not held.refused, number
        meter.settle("key_1", f"slot_{number}", held.bucket, 0, -100)


def test_calls_of_many_keys_that_come_together_get_each_its_own_answer(redis: Redis, link_to: LinkFactory) -> None:
    meter, limits = RedisKeyMeter(link_to(redis.url)), KeyLimits(tokens_per_minute=1000)

    def hold(number: int) -> tuple[int, int]:
        reading = meter.hold(f"key_{number % 5}", f"slot_{number}", limits, 10 + number % 5)
        assert reading is not None
        return reading.requests, reading.tokens

    told = at_once(*[lambda number=number: hold(number) for number in range(20)])

    for number in range(5):
        amounts = [(count, count * (10 + number)) for count in range(1, 5)]
        assert sorted(told[number::5]) == amounts


def test_a_redis_that_has_lost_its_scripts_is_sent_them_again(redis: Redis, link_to: LinkFactory) -> None:
    link = link_to(redis.url)
    meter, limits = RedisKeyMeter(link), KeyLimits(tokens_per_minute=100)
    for number in range(3):
        link.call(lambda client: client.script_flush())
        reading = meter.hold("key_1", f"slot_{number}", limits, 10)
        assert reading is not None
        assert reading.tokens == (number + 1) * 10


DIES = """
import sys, time
from domain.api_keys import KeyGrant, KeyLimits
from repositories.key_meter import KeyMeter
from repositories.redis_key_meter import RedisKeyMeter
from repositories.redis_link import RedisLink
from services.key_limiter import KeyLimiter
limiter = KeyLimiter(KeyMeter(RedisKeyMeter(RedisLink(sys.argv[1]))))
held = [limiter.hold(KeyGrant(sys.argv[2], frozenset(), limits=KeyLimits(parallel_requests=3)), 0) for _ in range(2)]
print("holds", flush=True)
time.sleep(600)
"""


def test_the_slots_of_a_worker_that_died_free_themselves_and_those_of_the_living_stay(
    redis: Redis, worker: Worker
) -> None:
    grant, alive = key(parallel_requests=3), worker()
    kept = alive.hold(grant, 0)
    with subprocess.Popen([sys.executable, "-c", DIES, redis.url, grant.id], cwd=ROOT, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"holds\n"
        assert code(alive, grant) == "key_parallel_limited"
        dying.kill()
    died_at = time.monotonic()

    # One after the other: the two were taken one after the other too.
    freed = [eventually(lambda: attempt(alive, grant), seconds=LEASE_S + 3) for _ in range(2)]

    assert time.monotonic() - died_at < LEASE_S + 3
    assert code(alive, grant) == "key_parallel_limited", "the slot of what still runs was lost"
    for one in (kept, *freed):
        one.settle(0)


def test_a_slot_is_not_taken_anew_by_a_renewal_that_comes_too_late(worker: Worker) -> None:
    limiter, grant = worker(), key(parallel_requests=1)
    for _ in range(50):
        held = limiter.hold(grant, 0)
        at_once(limiter.renew, lambda held=held: held.settle(0))
    assert attempt(worker(), grant) is not None


def test_metering_goes_on_from_here_when_redis_dies(own_redis: Redis, link_to: LinkFactory) -> None:
    limiter = KeyLimiter(KeyMeter(RedisKeyMeter(link_to(own_redis.url))))
    grant = key(requests_per_minute=4, tokens_per_minute=100, parallel_requests=2)
    first, second = limiter.hold(grant, 40), limiter.hold(grant, 40)
    own_redis.stop()

    assert code(limiter, grant, 0) == "key_parallel_limited"
    second.settle(10)
    assert code(limiter, grant, 60) == "key_tokens_limited"
    third = limiter.hold(grant, 50)
    third.settle(50)
    limiter.hold(grant, 0)
    assert code(limiter, grant) == "key_requests_limited"
    first.settle(0)


def test_redis_learns_of_slots_that_were_taken_while_it_was_away(own_redis: Redis, link_to: LinkFactory) -> None:
    limiter = KeyLimiter(KeyMeter(RedisKeyMeter(link_to(own_redis.url))))
    grant = key(parallel_requests=1)
    own_redis.stop()
    held = limiter.hold(grant, 0)
    own_redis.start()
    other = KeyLimiter(KeyMeter(RedisKeyMeter(link_to(own_redis.url))))

    def is_known() -> bool:
        limiter.renew()
        taken = attempt(other, grant)
        if taken:
            taken.settle(0)
        return taken is None

    eventually(is_known)
    held.settle(0)
    eventually(lambda: attempt(other, grant))
