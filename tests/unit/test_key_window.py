"""The window of an API key's limits, against a log of all requests that is added up anew for each."""

import random
from dataclasses import dataclass, field

import pytest

from domain.api_keys import KeyLimits
from repositories.key_window import BUCKET_S, LEASE_S, WINDOW_S, KeyWindow, Reading


@dataclass
class Model:
    """What there was, as it happened: [moment, requests, tokens], and who runs."""

    log: list[list[float]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)

    def within(self, moment: float, seconds: float) -> tuple[int, int]:
        last = [one for one in self.log if one[0] > moment - seconds]
        return int(sum(one[1] for one in last)), int(sum(one[2] for one in last))


@dataclass
class Request:
    slot: str
    reading: Reading
    entry: list[float]
    renewed_at: float


@pytest.mark.parametrize("seed", range(20))
def test_it_lets_in_what_fits_into_the_last_minute_and_nothing_else(seed: int) -> None:
    dice = random.Random(seed)
    limits = KeyLimits(*(dice.choice([None, most]) for most in (dice.randint(1, 40), dice.randint(10, 2000), 4)))
    window, model, moment, open_ones = KeyWindow(), Model(), 1000.0 * seed, list[Request]()
    let_in = refused = 0
    for number in range(400):
        moment += dice.choice([0.0, 0.01, 0.3, 2.0, dice.uniform(0, 30)])
        for one in open_ones:
            window.renew(moment, one.slot)
        if open_ones and dice.random() < 0.55:
            _end(dice, window, model, moment, open_ones.pop(dice.randrange(len(open_ones))))
            continue
        slot, tokens = f"slot_{number}", dice.choice([0, 1, 20, dice.randint(0, 1000)])
        reading = window.hold(moment, slot, limits, tokens)
        exact, late = model.within(moment, WINDOW_S), model.within(moment, WINDOW_S + BUCKET_S)
        if reading.refused:
            refused += 1
            assert _passed(limits, late, tokens, len(model.running)), "it would have fitted"
            assert (reading.requests, reading.tokens) <= late
        else:
            let_in += 1
            assert not _passed(limits, exact, tokens, len(model.running)), "it did not fit"
            model.log.append([moment, 1, tokens])
            model.running.add(slot)
            open_ones.append(Request(slot, reading, model.log[-1], moment))
    assert let_in
    assert refused or limits == KeyLimits()


def _end(dice: random.Random, window: KeyWindow, model: Model, moment: float, request: Request) -> None:
    held = int(request.entry[2])
    bucket = request.reading.bucket
    model.running.discard(request.slot)
    if dice.random() < 0.2:
        window.settle(moment, request.slot, bucket, -1, -held)
        request.entry[1:] = [0, 0]
        return
    used = dice.choice([0, held, held // 2, held + dice.randint(0, 300)])
    window.settle(moment, request.slot, bucket, 0, used - held)
    request.entry[2] = min(held, used)
    model.log.append([moment, 0, max(0, used - held)])


def _passed(limits: KeyLimits, used: tuple[int, int], tokens: int, running: int) -> bool:
    requests, used_tokens = used
    return any(
        most is not None and total > most
        for most, total in (
            (limits.requests_per_minute, requests + 1),
            (limits.tokens_per_minute, used_tokens + tokens),
            (limits.parallel_requests, running + 1),
        )
    )


def test_a_refusal_says_when_there_is_room() -> None:
    window, limits = KeyWindow(), KeyLimits(tokens_per_minute=100)
    for moment, tokens in ((0.0, 50), (10.0, 30), (20.0, 20)):
        assert window.hold(moment, f"at {moment}", limits, tokens).refused is None

    reading = window.hold(30.0, "late", limits, 60)

    assert reading.refused == "tokens"
    assert window.hold(30.0 + reading.retry_s - BUCKET_S, "early", limits, 60).refused
    assert window.hold(30.0 + reading.retry_s, "right", limits, 60).refused is None
    assert reading.reset_s == pytest.approx(20 + WINDOW_S + BUCKET_S - 30)


def test_what_was_used_beyond_the_hold_is_waited_for() -> None:
    window, limits = KeyWindow(), KeyLimits(tokens_per_minute=100)
    first = window.hold(0.0, "a", limits, 10)

    assert window.settle(30.0, "a", first.bucket, 0, 653).tokens == 663

    assert window.hold(61.0, "b", limits, 1).refused == "tokens"
    assert window.hold(30.0 + WINDOW_S + BUCKET_S, "c", limits, 100).refused is None


def test_a_slot_that_is_not_renewed_frees_itself() -> None:
    window, limits = KeyWindow(), KeyLimits(parallel_requests=2)
    for slot in ("dead", "alive"):
        assert window.hold(0.0, slot, limits, 0).refused is None
    assert window.hold(1.0, "third", limits, 0).refused == "parallel"

    window.renew(LEASE_S - 1, "alive")

    assert window.hold(LEASE_S, "third", limits, 0).refused is None
    assert window.hold(LEASE_S, "fourth", limits, 0).refused == "parallel"


def test_a_window_that_nothing_counts_in_is_idle() -> None:
    window = KeyWindow()
    reading = window.hold(0.0, "a", KeyLimits(requests_per_minute=1), 5)
    assert not window.is_idle(LEASE_S)
    window.settle(LEASE_S, "a", reading.bucket, 0, 0)

    assert not window.is_idle(WINDOW_S)
    assert window.is_idle(WINDOW_S + BUCKET_S)
    assert window.settle(WINDOW_S + 1, "a", reading.bucket, -1, -5).tokens == 0  # it has left already
