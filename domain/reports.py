"""Reports of what was used."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class Grouping(StrEnum):
    """What a report tells apart; MODEL is a model at a provider, DAY one by UTC, KEY an API key or none."""

    DAY = "day"
    MODEL = "model"
    USER = "user"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Used:
    """What one group used; ``cost`` is in nano-USD.

    ``turns`` are those that the group had a part in, ``requests`` those to providers that were settled, ``unpriced``
    those of them whose model had no price.
    """

    turns: int
    requests: int
    unpriced: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    day: str | None = None
    provider: str | None = None
    model: str | None = None
    user_id: str | None = None
    key_id: str | None = None

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class Grain(StrEnum):
    """What a sum of the ledger tells apart, beside its span of time."""

    MODELS = "models"
    KEYS = "keys"  # users, and the keys that they asked with
    ALL = "all"


class Span(StrEnum):
    """How long the time of a sum is, by UTC."""

    DAY = "day"
    MONTH = "month"


def spans(first: date, last: date) -> list[tuple[Span, date, date]]:
    """The days from ``first`` to ``last`` in as few spans as may be: of a kind, from one start to another."""
    since, until = _month(first) + (first.day > 1), _month(last)
    until -= last.day < monthrange(last.year, last.month)[1]
    if since > until:
        return [(Span.DAY, first, last)]
    found = [(Span.MONTH, _first_day(since), _first_day(until))]
    if first.day > 1:
        found.append((Span.DAY, first, _first_day(since) - timedelta(days=1)))
    if until < _month(last):
        found.append((Span.DAY, last.replace(day=1), last))
    return found


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _first_day(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)
