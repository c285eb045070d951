"""What an API key looks like: ``sk-uc``, 40 random characters, and six that check the rest."""

import re
import secrets
import string
import zlib

START = "sk-"  # how everybody's keys begin, and no token of ours does
_MARK = f"{START}uc"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM = 40  # digits of base 62: 238 bits
_CHECK = 6  # the least that hold 32 bits
_SHOWN = len(_MARK) + 6
_SHAPE = re.compile(rf"{_MARK}[0-9A-Za-z]{{{_RANDOM + _CHECK}}}")


def new_key() -> str:
    """A key that nobody can guess."""
    body = _MARK + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return body + _check_of(body)


def is_well_formed(key: str) -> bool:
    """Whether ``key`` may be one of ours: a mistyped one is not, and needs no look into the database."""
    return _SHAPE.fullmatch(key) is not None and key[-_CHECK:] == _check_of(key[:-_CHECK])


def prefix_of(key: str) -> str:
    """The part of a key by which its owner recognises it; the other 34 random characters stay unknown."""
    return key[:_SHOWN]


def without_keys(text: str) -> str:
    """``text`` with nothing but the prefixes of the keys in it."""
    return _SHAPE.sub(lambda found: f"{prefix_of(found[0])}...", text) if _MARK in text else text


def _check_of(body: str) -> str:
    number = zlib.crc32(body.encode())
    return "".join(_DIGITS[number // 62**place % 62] for place in reversed(range(_CHECK)))
