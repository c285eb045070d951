"""Keyset paging: a cursor is the sort key of the last row seen, so deep pages cost what the first costs."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from domain.errors import InvalidInput
from domain.paging import Page

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])

_MOST = 2**31 - 1  # positions are INTEGER columns
_FIRST_YEAR = 1000  # MySQL's


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], tuple[Any, ...]]) -> Page[T]:
    """The page of ``limit`` rows out of a query for ``limit + 1``."""
    if len(rows) <= limit:
        return Page(rows, None)
    rows = rows[:limit]
    return Page(rows, base64.urlsafe_b64encode(msgspec.json.encode(key(rows[-1]))).rstrip(b"=").decode())


def decode_cursor(cursor: str, key_type: type[K]) -> K:
    """The sort key in ``cursor``. Raises :class:`InvalidInput` if nobody here made it."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key: K = msgspec.json.decode(raw, type=key_type)
        if all(map(_is_sound, key)):
            return key
    except (binascii.Error, msgspec.DecodeError, ValueError, OverflowError):
        pass
    raise InvalidInput("The cursor is not one of ours.", "invalid_cursor", ("cursor",))


def _is_sound(value: object) -> bool:
    """Whether a database can compare the value with its own. Raises OverflowError for a time beyond all times."""
    match value:
        case str():
            return value.isascii() and "\0" not in value
        case datetime():
            return value.tzinfo is not None and value.astimezone(UTC).year > _FIRST_YEAR
        case int():
            return abs(value) <= _MOST
    return False
