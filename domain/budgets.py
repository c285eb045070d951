"""Budgets: how much of what, in which stretch of time."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum


class Window(StrEnum):
    """A stretch of time in UTC that a limit holds for; ``TOTAL`` has no end."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"

    def start(self, moment: datetime) -> date:
        """The first day of the window that ``moment`` is in; of TOTAL, the first day there is."""
        match self:
            case Window.DAY:
                return moment.date()
            case Window.MONTH:
                return moment.date().replace(day=1)
        return date.min

    def end(self, moment: datetime) -> datetime | None:
        """When the next window begins; None for TOTAL."""
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case Window.DAY:
                return midnight + timedelta(days=1)
            case Window.MONTH:
                return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        return None


@dataclass(frozen=True, slots=True)
class Amounts:
    """Turns, tokens, and nano-USD."""

    requests: int = 0
    tokens: int = 0
    cost: int = 0


MEASURES = ("requests", "tokens", "cost")  # the fields of Amounts, and what a budget can limit
