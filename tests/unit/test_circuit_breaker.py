"""When a target is left alone, and how it is found again."""

import pytest

from domain import errors
from domain.breaker import BreakerPolicy
from repositories.breaker_store import MemoryBreakerStore
from services.circuit_breaker import Admission, CircuitBreakers
from services.pace import Pace
from services.target_gate import Refusal, TargetGate
from tests.upstreams import Clock, Puppet, said, stage, text_of

POLICY = BreakerPolicy(failures=3, window_s=30, first_interval_s=5, longest_interval_s=20)
T = "a/m"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> CircuitBreakers:
    return CircuitBreakers(MemoryBreakerStore(clock), POLICY)


def admit(breakers: CircuitBreakers) -> Admission:
    admission = breakers.admit(T, breakers.now())
    assert admission is not None
    return admission


def fail(breakers: CircuitBreakers, times: int = 1, **more: float) -> None:
    for _ in range(times):
        breakers.failed(admit(breakers), "timeout", **more)


def test_it_opens_after_so_many_failures(breakers: CircuitBreakers) -> None:
    fail(breakers, 2)
    assert breakers.open_for(T) is None
    fail(breakers)

    assert breakers.open_for(T) == ("timeout", 5)
    assert breakers.admit(T, breakers.now()) is None
    assert breakers.open_for("b/m") is None


def test_failures_that_are_far_apart_do_not_add_up(breakers: CircuitBreakers, clock: Clock) -> None:
    for _ in range(10):
        fail(breakers)
        clock.seconds += 16

    assert breakers.open_for(T) is None


def test_it_stays_closed_while_most_attempts_succeed(breakers: CircuitBreakers) -> None:
    fail(breakers)
    for _ in range(20):
        breakers.answered(admit(breakers))
        breakers.answered(admit(breakers))
        fail(breakers)

    assert breakers.open_for(T) is None


def test_after_the_interval_one_probe_goes_out_and_no_other_within_an_interval(
    breakers: CircuitBreakers, clock: Clock
) -> None:
    fail(breakers, 3)
    clock.seconds += 5

    assert breakers.open_for(T) is None
    assert admit(breakers).probe
    assert breakers.admit(T, breakers.now()) is None
    clock.seconds += 4.9
    assert breakers.admit(T, breakers.now()) is None
    clock.seconds += 0.1
    assert admit(breakers).probe  # the first one has vanished


def test_each_failed_probe_doubles_the_interval_up_to_a_cap(breakers: CircuitBreakers, clock: Clock) -> None:
    fail(breakers, 3)
    intervals = []
    for _ in range(5):
        found = breakers.open_for(T)
        assert found is not None
        intervals.append(found[1])
        clock.seconds += found[1]
        fail(breakers)

    assert intervals == [5, 10, 20, 20, 20]


def test_an_answer_that_begins_lets_everybody_in_and_a_whole_one_forgets(
    breakers: CircuitBreakers, clock: Clock
) -> None:
    fail(breakers, 3)
    clock.seconds += 5
    probe = admit(breakers)
    breakers.responded(probe)
    assert not admit(breakers).probe
    assert breakers.states()[T].trial

    breakers.answered(probe)
    assert breakers.states() == {}
    fail(breakers, 2)
    assert breakers.open_for(T) is None


def test_one_failure_on_trial_opens_it_again_for_longer(breakers: CircuitBreakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.seconds += 5
    breakers.responded(admit(breakers))
    fail(breakers)

    assert breakers.open_for(T) == ("timeout", 10)


def test_attempts_from_before_the_outage_say_nothing_afterwards(breakers: CircuitBreakers, clock: Clock) -> None:
    early = admit(breakers)
    fail(breakers, 3)
    breakers.failed(early, "timeout")
    assert breakers.open_for(T) == ("timeout", 5)
    clock.seconds += 5
    probe = admit(breakers)
    clock.seconds += 0.1
    breakers.responded(probe)
    breakers.failed(early, "timeout")
    breakers.answered(early)

    assert breakers.states()[T].trial


def test_what_a_429_asks_for_is_kept_within_the_cap(breakers: CircuitBreakers) -> None:
    fail(breakers, 3, wait_s=12)
    assert breakers.open_for(T) == ("timeout", 12)


def test_it_is_never_closed_for_longer_than_the_cap(breakers: CircuitBreakers) -> None:
    fail(breakers, 3, wait_s=3600)
    assert breakers.open_for(T) == ("timeout", 20)


def test_names_from_outside_do_not_fill_the_memory(breakers: CircuitBreakers, clock: Clock) -> None:
    for number in range(5000):
        breakers.failed(Admission(f"a/{number}", clock()), "timeout")
        clock.seconds += 0.1

    assert len(breakers._ends) <= 1001


# Which failures count


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.ProviderRateLimited("x"), "429"),
        (errors.ProviderUnavailable("x"), "unavailable"),
        (errors.ProviderTimeout("x", "connect"), "timeout"),
        (errors.ProviderTimeout("x", "first_token"), "timeout"),
        (errors.ProviderTimeout("x", "idle"), "timeout"),
        (errors.ProviderTimeout("x", "total"), None),
        (errors.ProviderGarbage("x"), "garbage"),
        (errors.UpstreamCut("x"), "cut"),
        (errors.EmptyAnswer("x"), None),
        (errors.ProviderRejected("x"), None),
        (errors.ContextTooLong("x"), None),
        (errors.ContentFiltered("x"), None),
        (errors.ModelNotFound("x"), None),
        (errors.ProviderDenied("x"), None),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_only_the_providers_own_failures_count(
    error: errors.ProviderError, reason: str | None, breakers: CircuitBreakers, clock: Clock
) -> None:
    gate = TargetGate(breakers, Pace(attempts=100))
    for _ in range(3):
        admission = gate.enter(T)
        assert isinstance(admission, Admission)
        gate.failed(admission, error)

    assert [state.reason for state in breakers.states().values()] == ([reason] if reason else [])


def test_a_request_of_somebodys_own_fault_proves_that_a_target_is_back(breakers: CircuitBreakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.seconds += 5
    gate = TargetGate(breakers, Pace())
    probe = gate.enter(T)
    assert isinstance(probe, Admission)
    gate.failed(probe, errors.ProviderRejected("x"))

    assert isinstance(gate.enter(T), Admission)


# Pace


def test_a_target_in_trouble_gets_four_attempts_in_three_seconds() -> None:
    pace = Pace()
    starts = []
    now = 100.0
    while now < 120:
        if pace.enter(T, now) == 0:
            starts.append(now)
            pace.failed(T, now, now)
        now += 0.05

    assert all(later - earlier >= 3 for earlier, later in zip(starts, starts[4:], strict=False))
    assert len(starts) >= 4 * 20 / 3 - 4


def test_the_pause_is_told() -> None:
    pace = Pace()
    for start in (10.0, 10.5, 11.0, 11.5):
        assert pace.enter(T, start) == 0
        pace.failed(T, start, start)

    assert pace.enter(T, 12.0) == pytest.approx(1.0)
    assert pace.enter("b/m", 12.0) == 0
    assert pace.enter(T, 13.0) == 0


def test_an_answer_ends_the_trouble() -> None:
    pace = Pace()
    for _ in range(6):
        pace.failed(T, 10.0 + _ / 10, 10.6)
    assert pace.enter(T, 11.0) > 0
    pace.answered(T)

    assert [pace.enter(T, 11.0) for _ in range(10)] == [0] * 10


def test_time_ends_the_trouble_too() -> None:
    pace = Pace()
    pace.failed(T, 10.0, 10.0)

    assert [pace.enter(T, 13.0) for _ in range(10)] == [0] * 10


def test_troubles_of_long_ago_do_not_fill_the_memory() -> None:
    pace = Pace()
    for number in range(5000):
        pace.failed(f"a/{number}", number, number)

    assert len(pace._troubles) <= 1001


# Both, by the whole upstream


def test_turns_together_never_ask_a_failing_target_more_than_four_times_in_three_seconds(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.ProviderDenied("x")]])
    it = stage(a, clock=clock)
    for _ in range(40):
        it.partly()
        clock.seconds += 0.01

    assert all(later - earlier >= 3 for earlier, later in zip(a.asked, a.asked[4:], strict=False))


def test_an_open_target_is_passed_over_and_the_header_says_so(clock: Clock) -> None:
    limited = errors.ProviderRateLimited("x", retry_after=12)
    a, b = Puppet("a", clock, [[limited]]), Puppet("b", clock, [said("Hello")])
    it = stage(a, b, clock=clock, breaker=POLICY)
    for _ in range(3):
        it.answer()
    asked = len(a.asked)
    plan = it.plan()

    assert plan.route == "a/m=open(429,12s) -> b/m"
    assert plan.first.provider == "b"
    assert text_of(it.answer(plan=plan)) == "Hello"
    assert it.last.route == "a/m=open(429,12s) -> b/m"
    assert len(a.asked) == asked == 3


def test_when_all_are_open_the_turn_is_refused_with_the_time_to_come_back(clock: Clock) -> None:
    a = Puppet("a", clock, [[errors.ProviderUnavailable("x")]])
    it = stage(a, clock=clock, breaker=POLICY)
    for _ in range(2):
        it.partly()
    with pytest.raises(errors.ProviderUnavailable) as caught:
        it.plan()

    assert caught.value.retry_after == pytest.approx(5, abs=2.1)
    clock.seconds += 5
    assert it.plan().first.provider == "a"


def test_a_provider_that_comes_back_is_found_within_an_interval(clock: Clock) -> None:
    a, b = Puppet("a", clock, [[errors.ProviderUnavailable("x")]]), Puppet("b", clock, [said("b")])
    it = stage(a, b, clock=clock, breaker=POLICY)
    for _ in range(60):
        assert text_of(it.answer()) == "b"
        clock.seconds += 1
    outage = list(a.asked)
    a._answers[:] = [said("a")]
    answers = []
    for _ in range(25):
        answers.append(text_of(it.answer()))
        clock.seconds += 1

    assert len(outage) < 10
    assert answers[-1] == "a"
    assert answers == sorted(answers, reverse=True)


def test_an_open_target_is_asked_when_the_others_have_failed_and_its_time_has_come(clock: Clock) -> None:
    a, b = Puppet("a", clock, [[errors.ProviderUnavailable("x")]]), Puppet("b", clock, [said("b")])
    it = stage(a, b, clock=clock, breaker=POLICY)
    for _ in range(2):
        it.answer()
    plan = it.plan()
    a._answers[:], b._answers[:] = [said("a")], [[9.0, errors.ProviderDenied("x")]]

    assert plan.first.provider == "b"
    assert text_of(it.answer(plan=plan)) == "a"


def test_a_refusal_says_why(clock: Clock) -> None:
    gate = TargetGate(CircuitBreakers(MemoryBreakerStore(clock), POLICY), Pace(attempts=1))
    admission = gate.enter(T)
    assert isinstance(admission, Admission)
    gate.failed(admission, errors.ProviderRateLimited("x"))

    assert gate.enter(T) == Refusal("paced", 3)
