"""What a key's limits let in, and what a request costs that they do not."""

import gc
from collections.abc import Callable

import pytest

from api.key_limit_headers import duration, headers_of
from domain.api_keys import KeyGrant, KeyLimits, KeyStanding
from domain.chat import Capabilities, ChatRequest, ModelInfo
from domain.errors import LimitExceeded
from repositories.key_meter import KeyMeter
from services.key_limiter import UNSAID_ANSWER, Held, KeyLimiter, tokens_to_hold
from tests.races import at_once


def key(
    requests_per_minute: int | None = None, tokens_per_minute: int | None = None, parallel_requests: int | None = None
) -> KeyGrant:
    return KeyGrant("key_1", frozenset(), limits=KeyLimits(requests_per_minute, tokens_per_minute, parallel_requests))


@pytest.fixture
def limiter() -> KeyLimiter:
    return KeyLimiter(KeyMeter())


def refusal(limiter: KeyLimiter, grant: KeyGrant, tokens: int = 0) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as caught:
        limiter.hold(grant, tokens)
    return caught.value


def used(limiter: KeyLimiter, grant: KeyGrant) -> tuple[int | None, int | None]:
    standing = limiter.standing(grant)
    return standing.requests.used if standing.requests else None, standing.tokens.used if standing.tokens else None


def test_without_a_key_or_limits_nothing_is_held(limiter: KeyLimiter) -> None:
    for grant in (None, key()):
        held = limiter.hold(grant, 10**9)
        assert held.standing is None
        held.settle(5)
        held.cancel()


def test_calls_that_come_together_use_the_limit_up_and_no_more(limiter: KeyLimiter) -> None:
    grant = key(tokens_per_minute=100)

    def call() -> Held | None:
        try:
            return limiter.hold(grant, 20)
        except LimitExceeded:
            return None

    held = [one for one in at_once(*[call] * 12) if one]

    assert len(held) == 5
    for one in held:
        one.settle(20)
    assert used(limiter, grant) == (None, 100)
    assert refusal(limiter, grant, 1).error_code == "key_tokens_limited"


def test_a_refused_request_costs_nothing(limiter: KeyLimiter) -> None:
    grant = key(requests_per_minute=3, tokens_per_minute=50, parallel_requests=2)
    first = limiter.hold(grant, 40)

    assert [refusal(limiter, grant, 40).error_code for _ in range(9)] == ["key_tokens_limited"] * 9
    second = limiter.hold(grant, 10)
    assert refusal(limiter, grant).error_code == "key_parallel_limited"
    assert used(limiter, grant) == (2, 50)

    for one in (first, second):
        one.settle(0)
    limiter.hold(grant, 50)
    refused = refusal(limiter, grant, 50)
    assert refused.error_code == "key_requests_limited"
    assert 59 < refused.retry_after <= 60.25
    assert used(limiter, grant) == (3, 50)


def test_a_cancelled_request_costs_nothing(limiter: KeyLimiter) -> None:
    grant = key(requests_per_minute=1, tokens_per_minute=10, parallel_requests=1)

    with pytest.raises(ZeroDivisionError), limiter.hold(grant, 10):
        _ = 1 // 0

    assert used(limiter, grant) == (0, 0)
    with limiter.hold(grant, 10) as held:
        assert used(limiter, grant) == (1, 10)
    held.settle(4)
    held.settle(9)
    held.cancel()
    assert used(limiter, grant) == (1, 4)


def test_what_was_used_is_charged_and_what_was_not_is_given_back(limiter: KeyLimiter) -> None:
    grant = key(tokens_per_minute=100)
    limiter.hold(grant, 60).settle(10)
    assert used(limiter, grant) == (None, 10)

    limiter.hold(grant, 5).settle(653)

    assert used(limiter, grant) == (None, 663)
    refused = refusal(limiter, grant, 1)
    assert refused.standing is not None
    assert refused.standing.tokens is not None
    assert refused.standing.tokens.used == 663
    assert headers_of(limiter.standing(grant))["x-ratelimit-remaining-tokens"] == "0"


def test_a_request_that_never_fits_says_so(limiter: KeyLimiter) -> None:
    grant = key(tokens_per_minute=100)

    assert refusal(limiter, grant, 101).error_code == "key_request_too_large"
    assert used(limiter, grant) == (None, 0)


@pytest.mark.parametrize("end", [lambda held: held.settle(3), lambda held: held.settle(None), Held.cancel])
def test_the_slot_is_free_however_it_ends(limiter: KeyLimiter, end: Callable[[Held], None]) -> None:
    grant = key(parallel_requests=1)

    for _ in range(3):
        held = limiter.hold(grant, 0)
        assert refusal(limiter, grant).error_code == "key_parallel_limited"
        end(held)


def test_what_nobody_holds_any_more_is_not_renewed(limiter: KeyLimiter) -> None:
    grant = key(parallel_requests=2)
    kept = limiter.hold(grant, 0)
    limiter.hold(grant, 0)
    gc.collect()

    assert list(limiter._held.values()) == [kept]


@pytest.mark.parametrize(
    ("grant", "prompt", "longest", "tokens"),
    [
        (key(tokens_per_minute=100), 10, 30, 40),
        (key(tokens_per_minute=100), 10, None, 20),
        (key(tokens_per_minute=10**6), 10, None, 10 + UNSAID_ANSWER),
        (key(requests_per_minute=1), 10, None, 10 + UNSAID_ANSWER),
        (None, 10, 0, 10),
    ],
)
def test_a_request_is_held_at_its_prompt_and_longest_answer(
    grant: KeyGrant | None, prompt: int, longest: int | None, tokens: int
) -> None:
    assert tokens_to_hold(grant, prompt, longest) == tokens


@pytest.mark.parametrize(
    ("max_tokens", "choices", "tokens"), [(30, 1, 40), (30, 3, 100), (10**6, 1, 510), (None, 2, 10 + 2 * UNSAID_ANSWER)]
)
def test_a_chat_is_held_at_as_many_answers_as_it_asks_for(
    limiter: KeyLimiter, max_tokens: int | None, choices: int, tokens: int
) -> None:
    grant = key(tokens_per_minute=10**6)
    model = ModelInfo("sees", 4000, max_output=500, capabilities=Capabilities())

    limiter.hold_chat(grant, 10, ChatRequest("sees", [], max_tokens=max_tokens, choices=choices), model)

    assert used(limiter, grant) == (None, tokens)


# Headers


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *[(0, "0ms"), (-1, "0ms"), (0.25, "250ms"), (0.9996, "1s"), (1, "1s"), (8.64, "8.64s"), (59.75, "59.75s")],
        *[(60, "1m0s"), (60.25, "1m0.25s"), (360, "6m0s"), (3661, "1h1m1s"), (86400, "24h0m0s")],
    ],
)
def test_stretches_of_time_are_told_as_openai_does(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_headers_tell_only_of_what_is_limited(limiter: KeyLimiter) -> None:
    assert headers_of(KeyStanding()) == {}
    assert headers_of(limiter.standing(key(requests_per_minute=60))) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "60",
        "x-ratelimit-reset-requests": "0ms",
    }
    standing = limiter.hold(key(tokens_per_minute=100), 30).standing
    assert standing is not None
    told = headers_of(standing)
    assert told.pop("x-ratelimit-reset-tokens").endswith("s")
    assert told == {"x-ratelimit-limit-tokens": "100", "x-ratelimit-remaining-tokens": "70"}
