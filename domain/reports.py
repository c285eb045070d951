"""Reports of what was used."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
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
    """How long the time of a sum is, by UTC. Weeks begin on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def start(self, day: date) -> date:
        """The first day of the one that has ``day``."""
        match self:
            case Span.DAY:
                return day
            case Span.WEEK:
                return date.fromordinal(day.toordinal() - day.weekday())
        return day.replace(day=1)


def spans(first: date, last: date) -> list[tuple[Span, date, date]]:
    """The days from ``first`` to ``last`` in few spans: of a kind, from one start to another."""
    since, until = _month(first) + (first.day > 1), _month(last)
    until -= last.day < monthrange(last.year, last.month)[1]
    if since > until:
        return _weeks(first.toordinal(), last.toordinal())
    found = [(Span.MONTH, _first_day(since), _first_day(until))]
    if first.day > 1:
        found += _weeks(first.toordinal(), _first_day(since).toordinal() - 1)
    if until < _month(last):
        found += _weeks(last.toordinal() - last.day + 1, last.toordinal())
    return found


def _weeks(first: int, last: int) -> list[tuple[Span, date, date]]:
    """The same without months, for days by their ordinals: that of a Monday is one more than a multiple of seven."""
    since, until = first + (1 - first) % 7, last - last % 7
    if since > until:
        return [_days(first, last)]
    found = [(Span.WEEK, date.fromordinal(since), date.fromordinal(until - 6))]
    if first < since:
        found.append(_days(first, since - 1))
    if until < last:
        found.append(_days(until + 1, last))
    return found


def _days(first: int, last: int) -> tuple[Span, date, date]:
    return Span.DAY, date.fromordinal(first), date.fromordinal(last)


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _first_day(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)
