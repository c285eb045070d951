"""Identifiers."""

import time
from concurrent.futures import ThreadPoolExecutor

from domain.identifiers import new_id, uuid7


def test_they_sort_as_they_were_made() -> None:
    made = [new_id("msg") for _ in range(5000)]

    assert made == sorted(made)


def test_they_are_unique_over_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_id("msg"), range(20_000)))

    assert len(set(made)) == 20_000


def test_they_carry_their_kind_and_are_safe_in_an_address() -> None:
    kind, digits = new_id("sess").split("_")

    assert kind == "sess"
    assert len(digits) == 26
    assert digits.isalnum()
    assert digits == digits.lower()


def test_they_are_uuids_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    number = uuid7()

    assert number >> 76 & 0xF == 7
    assert number >> 62 & 0b11 == 0b10
    assert before <= number >> 80 <= before + 10_000
