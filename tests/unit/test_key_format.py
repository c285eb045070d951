"""What API keys look like, and what is taken for one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.key_format import is_well_formed, new_key, prefix_of, without_keys

KEY = new_key()
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_keys_are_ours_and_never_the_same() -> None:
    made = [new_key() for _ in range(2000)]

    assert all(map(is_well_formed, made))
    assert len(set(made)) == len(made)
    assert {len(key) for key in made} == {51}
    assert {key[:5] for key in made} == {"sk-uc"}
    assert set("".join(key[5:] for key in made)) == set(ALPHABET)  # 40 random characters of 62: 238 bits


def test_what_is_shown_leaves_more_than_128_bits_unknown() -> None:
    shown = prefix_of(KEY)

    assert KEY.startswith(shown)
    assert len(shown) == 11
    check = 6
    assert (len(KEY) - len(shown) - check) * math.log2(62) >= 128


@given(st.integers(3, len(KEY) - 1), st.sampled_from(ALPHABET))
def test_a_mistyped_character_is_noticed(place: int, char: str) -> None:
    mistyped = KEY[:place] + char + KEY[place + 1 :]

    assert is_well_formed(mistyped) == (mistyped == KEY)


@given(st.integers(3, len(KEY) - 2))
def test_two_characters_in_the_wrong_order_are_noticed(place: int) -> None:
    swapped = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]

    assert is_well_formed(swapped) == (swapped == KEY)


@pytest.mark.parametrize("text", ["", "sk-", KEY[:-1], f"{KEY}0", f" {KEY}", f"{KEY}\n", KEY.lower(), "é" * 51])
def test_other_texts_are_no_keys(text: str) -> None:
    assert not is_well_formed(text)


def test_keys_are_cut_out_of_texts() -> None:
    other = new_key()
    text = f"GET /x/{KEY}?a={other}: nothing"

    assert without_keys(text) == f"GET /x/{KEY[:11]}...?a={other[:11]}...: nothing"
    assert without_keys("no keys, sk-uc and sk-ucabc") == "no keys, sk-uc and sk-ucabc"
