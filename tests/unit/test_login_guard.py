"""Throttling of password guessing."""

from collections.abc import Callable

import pytest

from domain.errors import LimitExceeded
from repositories.rate_counter import RateCounter
from services.login_guard import LoginGuard


@pytest.fixture
def guard() -> LoginGuard:
    return LoginGuard(RateCounter())


def _new() -> bool:
    return False


def _known() -> bool:
    return True


def _fails(guard: LoginGuard, account: str, network: str, is_known: Callable[[], bool] = _new) -> bool:
    """Whether a try that fails is let through."""
    try:
        guard.failed(guard.admit(account, network, is_known))
    except LimitExceeded:
        return False
    return True


def _attack(guard: LoginGuard, account: str) -> None:
    """From many networks, until the account is under attack."""
    assert all(_fails(guard, account, f"203.0.113.{number}") for number in range(30))


def test_five_failures_a_minute_are_let_through_per_account_and_address(guard: LoginGuard) -> None:
    assert [_fails(guard, "ada", "192.0.2.1") for _ in range(7)] == [True] * 5 + [False] * 2
    assert _fails(guard, "ada", "192.0.2.2")
    assert _fails(guard, "grace", "192.0.2.1")


def test_thirty_failures_a_minute_are_let_through_per_address(guard: LoginGuard) -> None:
    tries = [_fails(guard, f"user{number}", "192.0.2.1") for number in range(40)]

    assert sum(tries) == 30


def test_tries_that_succeed_do_not_count(guard: LoginGuard) -> None:
    for _ in range(100):
        guard.admit("ada", "192.0.2.1", _new)

    assert _fails(guard, "ada", "192.0.2.1")


def test_the_answer_says_when_to_try_again(guard: LoginGuard) -> None:
    for _ in range(5):
        _fails(guard, "ada", "192.0.2.1")

    with pytest.raises(LimitExceeded) as caught:
        guard.admit("ada", "192.0.2.1", _new)

    assert caught.value.error_code == "too_many_attempts"
    assert 0 < caught.value.retry_after <= 60


def test_under_attack_every_new_address_has_one_try_a_minute(guard: LoginGuard) -> None:
    _attack(guard, "ada")

    assert [_fails(guard, "ada", "198.51.100.1") for _ in range(3)] == [True, False, False]
    assert [_fails(guard, "ada", "198.51.100.2") for _ in range(3)] == [True, False, False]


def test_under_attack_known_addresses_keep_their_allowance(guard: LoginGuard) -> None:
    _attack(guard, "ada")

    assert [_fails(guard, "ada", "192.0.2.1", _known) for _ in range(6)] == [True] * 5 + [False]


def test_an_attack_on_one_account_leaves_the_others_alone(guard: LoginGuard) -> None:
    _attack(guard, "ada")

    assert [_fails(guard, "grace", "198.51.100.1") for _ in range(5)] == [True] * 5


def test_whether_an_address_is_known_is_asked_under_attack_only(guard: LoginGuard) -> None:
    def must_not_be_asked() -> bool:
        raise AssertionError

    guard.admit("ada", "192.0.2.1", must_not_be_asked)


def test_refused_tries_of_one_address_do_not_put_the_account_under_attack(guard: LoginGuard) -> None:
    for _ in range(100):
        _fails(guard, "ada", "203.0.113.1")

    assert [_fails(guard, "ada", "198.51.100.1") for _ in range(5)] == [True] * 5


def test_names_of_any_length_and_content_are_counted_under_short_keys() -> None:
    class Recorder(RateCounter):
        keys: set[str]

        def add(self, key: str, window_s: float, amount: int = 1) -> int:
            self.keys = {*getattr(self, "keys", ()), key}
            return super().add(key, window_s, amount)  # type: ignore[arg-type, unused-ignore]

    counter = Recorder()
    _fails(LoginGuard(counter), "ada\0" * 10_000, "192.0.2.1")

    assert len(counter.keys) == 3
    assert all(len(key) < 50 and "ada" not in key and "192" not in key for key in counter.keys)
