"""Which passwords are accepted, and how they are hashed."""

import threading
import unicodedata
from collections.abc import Callable
from typing import Any

import argon2
import pytest

from domain.errors import InvalidInput
from services.password_strength import weakness
from services.passwords import Passwords
from tests.races import at_once


class CountingOffload:
    """Counts the hashes, and how many were computed at once at most."""

    def __init__(self) -> None:
        self.calls = 0
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, function: Callable[..., Any], *args: object) -> Any:
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return function(*args)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def offload() -> CountingOffload:
    return CountingOffload()


@pytest.fixture
def passwords(offload: CountingOffload) -> Passwords:
    return Passwords(offload)


def _fits(passwords: Passwords, kept: str | None, password: str) -> bool:
    with passwords.verifying() as fits:
        return fits(kept, password)


def test_a_password_fits_its_own_hash_only(passwords: Passwords) -> None:
    kept = passwords.hash("correct horse battery")

    assert _fits(passwords, kept, "correct horse battery")
    assert not _fits(passwords, kept, "correct horse batterz")


def test_hashes_are_argon2id_with_19_mib_and_two_passes(passwords: Passwords) -> None:
    assert passwords.hash("correct horse battery").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_the_same_characters_are_the_same_password_however_they_are_composed(passwords: Passwords) -> None:
    kept = passwords.hash(unicodedata.normalize("NFC", "crème brûlée über"))

    assert _fits(passwords, kept, unicodedata.normalize("NFD", "crème brûlée über"))


def test_an_unknown_user_costs_one_hash_too(passwords: Passwords, offload: CountingOffload) -> None:
    assert not _fits(passwords, None, "correct horse battery")
    assert offload.calls == 1


def test_the_void_hash_costs_what_a_real_one_costs(passwords: Passwords) -> None:
    real = argon2.extract_parameters(passwords.hash("correct horse battery"))

    from services.passwords import _VOID

    assert argon2.extract_parameters(_VOID) == real


def test_at_most_four_hashes_are_computed_at_once(passwords: Passwords, offload: CountingOffload) -> None:
    at_once(*[lambda: _fits(passwords, None, "correct horse battery")] * 12)

    assert offload.calls == 12
    assert offload.most_at_once <= 4


def test_a_hash_of_old_parameters_is_outdated_and_still_fits(passwords: Passwords) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("correct horse battery")

    assert passwords.is_outdated(old)
    assert _fits(passwords, old, "correct horse battery")
    assert not passwords.is_outdated(passwords.hash("correct horse battery"))


def test_a_broken_hash_fits_nothing(passwords: Passwords) -> None:
    assert not _fits(passwords, "not a hash", "correct horse battery")


@pytest.mark.parametrize("password", ["", "1234567", "short", "seven77", "x" * 3 + "correct horse" * 10])
def test_passwords_have_8_to_128_characters(passwords: Passwords, password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        passwords.check(password)

    assert caught.value.error_code == "weak_password"
    assert caught.value.fields == ("password",)


def test_passwords_of_8_and_of_128_characters_are_accepted(passwords: Passwords) -> None:
    passwords.check("k7#Vq!zu")
    passwords.check(("k7#Vq!zu hat es gern " * 7)[:128])
    passwords.check("密码要长一点才好")


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "password1",
        "Password123",
        "P@ssw0rd",
        "p4ssw0rd!",
        "123password",
        "letmein!",
        "iloveyou",
        "sunshine2024",
        "qwertyuiop",
        "QWERTY123",
        "1qaz2wsx",
        "zaq12wsx",
        "asdfghjkl",
        "trustno1",
        "dragon123456",
        "woaini1314",
        "administrator",
        "changeme",
        "welcome1",
        "unichat123",
    ],
)
def test_common_passwords_and_their_disguises_are_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(InvalidInput):
        passwords.check(password)


@pytest.mark.parametrize(
    "password",
    [
        "aaaaaaaaaa",
        "abababab",
        "abcabcabc",
        "12345678",
        "87654321",
        "abcdefghij",
        "poiuytrewq",
        "19840612",
        "2222222222a",
    ],
)
def test_repetitions_sequences_and_short_numbers_are_refused(password: str) -> None:
    assert weakness(password, [])


@pytest.mark.parametrize("name", ["margaret", "Margaret", "margaret@example.org", "teragram"])
def test_a_password_must_not_contain_its_owners_name(name: str) -> None:
    assert weakness("x9-margaret-x9", [name]) == "must not contain your name"


def test_names_of_two_letters_may_be_contained_by_chance() -> None:
    assert weakness("lookout tower", ["lo", "ok@example.org"]) is None


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "tr0mbone-kettle", "Kx9$mPq2", "blue piano walks", "TestPass123!", "S3cure!Pass#2024"],
)
def test_uncommon_passwords_are_accepted(password: str) -> None:
    assert weakness(password, ["grace", "grace@example.org"]) is None
