"""How often somebody may ask: ``60 per minute``, ``5/second; 1000 per 2 hours``."""

import re
from dataclasses import dataclass

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": 30 * 86_400, "year": 360 * 86_400}
_RATE = re.compile(rf"\s*(\d+)\s*(?:/|per)\s*(\d+)?\s*({'|'.join(_UNITS)})s?\s*", re.IGNORECASE)
_SEPARATOR = re.compile("[,;|]")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests within a window. ``text`` tells it to people: ``60 per 1 minute``."""

    amount: int
    window_s: int
    text: str


def read_rates(text: str) -> tuple[Rate, ...]:
    """The rates in a setting, that of the shortest window first. Raises ValueError for what is none."""
    return tuple(sorted(map(_read, _SEPARATOR.split(text)), key=lambda rate: rate.window_s))


def _read(text: str) -> Rate:
    found = _RATE.fullmatch(text)
    if found is None or int(found[2] or 1) == 0:
        raise ValueError(f"{text.strip()!r} is not a rate like '60 per minute'")
    amount, count, unit = int(found[1]), int(found[2] or 1), found[3].lower()
    return Rate(amount, count * _UNITS[unit], f"{amount} per {count} {unit}")
