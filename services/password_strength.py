"""Which passwords would be among an attacker's first guesses."""

import itertools
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_COMMON_FILE = Path(__file__).with_name("common_passwords.txt")
_LOOKALIKES = str.maketrans("@4830!1|5$7", "aabeoiilsst")
_ROWS = (
    "1234567890-=",
    "qwertyuiop[]",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "qwertzuiop",
    "azertyuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "qazwsxedcrfvtgbyhnujm",
)
_WALKS = tuple(walk for row in _ROWS for walk in (row, row[::-1]))
_SHORT_NAME = 3  # shorter names are in too many good passwords by chance
_SHORT_AFFIX = 4  # as in "summer2024" and "123password"
_SHORT_NUMBER = 12  # dates and telephone numbers
_FEW_CHARACTERS = 3


def weakness(password: str, names: Iterable[str]) -> str | None:
    """What is wrong with ``password``, to be read after "it"; None if nothing is. ``names`` are its owner's."""
    folded = password.casefold()
    if any(_is_named(folded, name.casefold()) for name in names):
        return "must not contain your name"
    if _is_pattern(folded):
        return "must not be a repetition, a sequence or a short number"
    if _is_common(folded):
        return "must not be a common password, or one with small changes"
    return None


def _is_named(folded: str, name: str) -> bool:
    local_part = name.partition("@")[0]
    return len(local_part) >= _SHORT_NAME and (local_part in folded or local_part[::-1] in folded)


def _is_pattern(folded: str) -> bool:
    few = len(set(folded)) <= _FEW_CHARACTERS
    repeated = folded in (folded + folded)[1:-1]
    short_number = folded.isdecimal() and len(folded) < _SHORT_NUMBER
    return few or repeated or short_number or _is_walk(folded)


def _is_walk(text: str) -> bool:
    """One step after the other, in the alphabet or over the keyboard."""
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(text)}
    return steps in ({1}, {-1}, set()) or any(text in walk for walk in _WALKS)


def _is_common(folded: str) -> bool:
    return any(plain in _common() for plain in _undisguised(folded))


def _undisguised(folded: str) -> Iterable[str]:
    """The password, and what is left without the changes that people make to a common one."""
    for text in (folded, folded.translate(_LOOKALIKES)):
        yield text
        yield "".join(filter(str.isalnum, text))
    core = folded.strip("0123456789!@#$%^&*?.,-_+=/ ")
    start = folded.find(core)
    affixes = folded[:start], folded[start + len(core) :]
    if all(len(affix) <= _SHORT_AFFIX or _is_pattern(affix) for affix in affixes):
        yield core
        yield core.translate(_LOOKALIKES)


@cache
def _common() -> frozenset[str]:
    lines = _COMMON_FILE.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
