"""Windows of budgets."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.budgets import Standing, Window, first_days


@pytest.mark.parametrize(
    ("moment", "day", "month"),
    [
        ((2026, 3, 31, 12), (2026, 4, 1), (2026, 4, 1)),
        ((2026, 12, 31, 23, 59), (2027, 1, 1), (2027, 1, 1)),
        ((2028, 2, 1), (2028, 2, 2), (2028, 3, 1)),
    ],
)
def test_windows_end(moment: Any, day: Any, month: Any) -> None:
    ends = [window.end(datetime(*moment, tzinfo=UTC)) for window in Window]

    assert ends == [datetime(*day, tzinfo=UTC), datetime(*month, tzinfo=UTC), None]


def test_windows_begin() -> None:
    assert first_days(datetime(2026, 3, 31, 23, 59, tzinfo=UTC)) == (date(2026, 3, 31), date(2026, 3, 1))


def test_what_remains_is_never_less_than_nothing() -> None:
    assert [Standing(limit, 7, 5).remaining for limit in (None, 0, 12, 20)] == [None, 0, 0, 8]
