"""Budgets on the wire, in and out."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from api.schemas import ApiModel
from domain.budgets import Measure, Standing, Window
from domain.money import amount_in_usd, amount_of
from services.budget_service import BudgetView

Count = Annotated[int, Field(ge=0, le=10**15)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]


class LimitsIn(ApiModel):
    """The limits of one window; null does not limit."""

    model_config = ConfigDict(extra="forbid")  # a misspelt limit must not be none

    requests: Count | None = Field(None, description="Turns.")
    tokens: Count | None = Field(None, description="Tokens of prompts and answers.")
    cost_usd: Usd | None = None

    def limits(self) -> Iterator[tuple[Measure, int]]:
        """Those that limit; money in nano-USD."""
        told = {Measure.REQUESTS: self.requests, Measure.TOKENS: self.tokens}
        yield from ((measure, limit) for measure, limit in told.items() if limit is not None)
        if self.cost_usd is not None:
            yield Measure.COST, amount_of(self.cost_usd)


class BudgetsIn(ApiModel):
    """All limits of a user, or of an API key, by UTC day, UTC month, and in total; what is left out does not limit."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"day": {"requests": 200}, "month": {"tokens": 2_000_000, "cost_usd": "10"}}]},
    )

    day: LimitsIn = Field(default_factory=LimitsIn)
    month: LimitsIn = Field(default_factory=LimitsIn)
    total: LimitsIn = Field(default_factory=LimitsIn)

    def limits(self) -> dict[tuple[Window, Measure], int]:
        """It for the services."""
        told = {Window.DAY: self.day, Window.MONTH: self.month, Window.TOTAL: self.total}
        return {(window, measure): limit for window, limits in told.items() for measure, limit in limits.limits()}


class StandingOut(ApiModel):
    """How a limit stands. `held` is kept aside for turns that are on their way; a null `limit` does not limit."""

    limit: int | None
    used: int
    held: int
    remaining: int | None


class MoneyStandingOut(ApiModel):
    """The same in USD, as decimal text."""

    limit: str | None
    used: str
    held: str
    remaining: str | None

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """It as it goes out."""
        limit, remaining = (
            None if nano is None else amount_in_usd(nano) for nano in (standing.limit, standing.remaining)
        )
        used, held = amount_in_usd(standing.used), amount_in_usd(standing.held)
        return cls(limit=limit, used=used, held=held, remaining=remaining)


class WindowOut(ApiModel):
    """How the limits of one window stand."""

    requests: StandingOut
    tokens: StandingOut
    cost_usd: MoneyStandingOut

    @classmethod
    def of(cls, view: BudgetView, window: Window) -> Self:
        """It as it goes out."""
        standings = view.standings
        return cls(
            requests=StandingOut.model_validate(standings[window, Measure.REQUESTS]),
            tokens=StandingOut.model_validate(standings[window, Measure.TOKENS]),
            cost_usd=MoneyStandingOut.of(standings[window, Measure.COST]),
        )


class _StandingsOut(ApiModel):
    since: datetime | None
    day: WindowOut
    month: WindowOut
    total: WindowOut


class BudgetsOut(_StandingsOut):
    """A user's budgets. `since`: when counting began; null where nothing was ever limited, and so nothing counted."""

    user_id: str

    @classmethod
    def of(cls, view: BudgetView) -> Self:
        """It as it goes out."""
        return cls(user_id=view.of, **_standings(view))


class KeyBudgetsOut(_StandingsOut):
    """The budgets of an API key, which hold beside its owner's; `since` as with those."""

    key_id: str

    @classmethod
    def of(cls, view: BudgetView) -> Self:
        """It as it goes out."""
        return cls(key_id=view.of, **_standings(view))


def _standings(view: BudgetView) -> dict[str, Any]:
    day, month, total = (WindowOut.of(view, window) for window in Window)
    return {"since": view.since, "day": day, "month": month, "total": total}
