"""Budgets: how many turns, tokens and how much money a user may use in a stretch of time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum


class Window(StrEnum):
    """A stretch of time in UTC that limits hold for; TOTAL has no end."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"

    def end(self, moment: datetime) -> datetime | None:
        """When the next window begins; None for TOTAL."""
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case Window.DAY:
                return midnight + timedelta(days=1)
            case Window.MONTH:
                return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
            case Window.TOTAL:
                return None


class Measure(StrEnum):
    """What is limited: turns, tokens of prompts and answers, or nano-USD."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Amounts:
    """So much of each measure."""

    requests: int = 0
    tokens: int = 0
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit stands. ``held`` is for turns that are on their way; without a ``limit``, it is only counted."""

    limit: int | None
    used: int
    held: int

    @property
    def remaining(self) -> int | None:
        """What may still be asked for; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used - self.held)


Limits = Mapping[tuple[Window, Measure], int]
Standings = Mapping[tuple[Window, Measure], Standing]


def first_days(moment: datetime) -> tuple[date, date]:
    """The first days of the day and of the month that ``moment`` is in, by UTC."""
    today = moment.date()
    return today, today.replace(day=1)
