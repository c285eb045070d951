"""Cursors of pages."""

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from repositories.paging import decode_cursor, page_of

_Key = tuple[bool, datetime, str]
_moments = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis wants them so
_ids = st.from_regex(r"sess_[0-9a-z]{26}", fullmatch=True)


def _cursor(*key: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


@given(st.tuples(st.booleans(), _moments, _ids))
def test_a_cursor_is_the_key_of_the_last_row_to_the_microsecond(key: _Key) -> None:
    page = page_of([key, key], 1, lambda row: row)

    assert page.items == [key]
    assert page.next_cursor is not None
    assert page.next_cursor.isascii()
    assert decode_cursor(page.next_cursor, _Key) == key


def test_the_last_page_has_no_cursor() -> None:
    assert page_of([1, 2], 2, lambda row: (row,)).next_cursor is None
    assert page_of([], 2, lambda row: (row,)).next_cursor is None


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_no_other_text_is_a_cursor(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_cursor(text, _Key)

    assert refused.value.error_code == "invalid_cursor"


@pytest.mark.parametrize(
    "cursor",
    [
        _cursor(1, "2026-01-01T00:00:00Z", "sess_x"),
        _cursor(True, "2026-01-01T00:00:00", "sess_x"),
        _cursor(True, "0001-01-01T00:00:00+14:00", "sess_x"),
        _cursor(True, "2026-01-01T00:00:00Z", "sess_é"),
        _cursor(True, "2026-01-01T00:00:00Z", "sess_\0"),
        _cursor(True, "2026-01-01T00:00:00Z"),
        _cursor(True, "2026-01-01T00:00:00Z", "sess_x", 1),
        _cursor(),
    ],
)
def test_a_key_that_no_database_can_compare_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(cursor, _Key)


@pytest.mark.parametrize("position", [2**31, -(2**31) - 1, 10**30, 1.5, "1", None, True])
def test_a_position_that_no_column_can_hold_is_refused(position: object) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(_cursor(position), tuple[int])
