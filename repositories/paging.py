"""Keyset paging: a cursor is the sort key of the last row seen, so deep pages cost what the first costs."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from domain.errors import InvalidInput
from domain.paging import Page

T = TypeVar("T")


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], tuple[Any, ...]]) -> Page[T]:
    """The page of ``limit`` rows out of a query for ``limit + 1``."""
    if len(rows) <= limit:
        return Page(rows, None)
    rows = rows[:limit]
    return Page(rows, base64.urlsafe_b64encode(msgspec.json.encode(key(rows[-1]))).rstrip(b"=").decode())


def decode_cursor(cursor: str, key_type: type[T]) -> T:
    """The sort key in ``cursor``. Raises :class:`InvalidInput` if nobody here made it."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(raw, type=key_type)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise InvalidInput("The cursor is not one of ours.", "invalid_cursor", ("cursor",)) from None
