"""How often somebody may ask, as operators write it."""

import pytest

from config import ConfigurationError, load_settings
from domain.rates import read_rates


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("60 per minute", [(60, 60, "60 per 1 minute")]),
        ("5/second", [(5, 1, "5 per 1 second")]),
        (" 10 PER 2 Hours ", [(10, 7200, "10 per 2 hour")]),
        ("1000 per day; 10/minute", [(10, 60, "10 per 1 minute"), (1000, 86_400, "1000 per 1 day")]),
        ("3 per 1 month|4 per year", [(3, 2_592_000, "3 per 1 month"), (4, 31_104_000, "4 per 1 year")]),
    ],
)
def test_a_rate_is_read(text: str, read: list[tuple[int, int, str]]) -> None:
    assert [(rate.amount, rate.window_s, rate.text) for rate in read_rates(text)] == read


@pytest.mark.parametrize(
    "text", ["", "many", "60", "60 per", "-1 per minute", "1 per 0 minutes", "1 per fortnight", "1/s;"]
)
def test_what_is_no_rate_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        read_rates(text)
    if text:  # an empty setting is none
        with pytest.raises(ConfigurationError, match="RATE_LIMIT_CHAT"):
            load_settings(RATE_LIMIT_CHAT=text)
