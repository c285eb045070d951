"""What was used: by oneself, and for administrators by everybody."""

from datetime import date, timedelta
from typing import Self

from flask import Response
from flask_openapi import Tag
from pydantic import Field, model_validator

from api.blueprint import Blueprint
from api.budget_schemas import BudgetsOut
from api.context import principal, services
from api.declarations import partly_admin, returns, scoped
from api.message_schemas import Identifier
from api.schemas import ApiModel, QueryModel, ok
from domain.api_keys import Scope
from domain.clock import now
from domain.money import amount_in_usd
from domain.reports import Grouping, Used

bp = Blueprint(
    "usage", __name__, url_prefix="/api/v1/usage", abp_tags=[Tag(name="usage")], abp_security=[{"bearer": []}]
)

_MOST_DAYS = 366
_DAY_30 = date.min + timedelta(days=29)
_GROUPING = f"({'|'.join(Grouping)})"


class UsageReportQuery(QueryModel):
    """Whose use, of which days (UTC), told apart by what."""

    since: date | None = Field(None, description="The first day; 29 days before the last one, unless it is said.")
    until: date | None = Field(None, description="The last day; today, unless it is said.")
    group_by: str = Field(
        "day",
        pattern=f"^{_GROUPING}(,{_GROUPING})*$",
        description="`day`, `model`, `user`, `key`, or some, with commas.",
    )
    user_id: Identifier | None = Field(None, description="Administrators: another user's.")
    key_id: Identifier | None = Field(None, description="With this API key only.")
    everybody: bool = Field(False, description="Administrators: all users'.")

    @model_validator(mode="after")
    def _some_days(self) -> Self:
        first, last = self.days()
        if not 0 <= (last - first).days < _MOST_DAYS:
            raise ValueError(f"since: must be at most {_MOST_DAYS - 1} days before until, and not after it")
        return self

    def days(self) -> tuple[date, date]:
        """The first and the last day."""
        last = self.until or now().date()
        return self.since or max(last, _DAY_30) - timedelta(days=29), last

    def groupings(self) -> list[Grouping]:
        """It for the services."""
        return [Grouping(name) for name in dict.fromkeys(self.group_by.split(","))]


class UsedOut(ApiModel):
    """What was used. Null is what the report does not tell apart, or a `key_id` where there was no API key.

    `unpriced` requests are to models without a price.
    """

    day: str | None
    provider: str | None
    model: str | None
    user_id: str | None
    key_id: str | None
    turns: int
    requests: int
    unpriced: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cost_usd: str

    @classmethod
    def of(cls, used: Used) -> Self:
        """It as it goes out."""
        told = {name: getattr(used, name) for name in cls.model_fields if name != "cost_usd"}
        return cls(**told, cost_usd=amount_in_usd(used.cost))


class UsageReportOut(ApiModel):
    """What was used, by groups and in total; `truncated`: there are more than 1,000 groups. `budgets` are your own."""

    since: date
    until: date
    items: list[UsedOut]
    total: UsedOut
    truncated: bool
    budgets: BudgetsOut | None


@bp.get("", **returns(UsageReportOut))
@scoped(Scope.READ)
@partly_admin
def usage(query: UsageReportQuery) -> Response:
    """What you have used, and how your budgets stand; for administrators also what others have."""
    caller, (first, last) = principal(), query.days()
    user_id = None if query.everybody else query.user_id or caller.user_id
    report = services().books.usage.report(caller, first, last, query.groupings(), user_id, query.key_id)
    own = user_id == caller.user_id
    return ok(
        UsageReportOut(
            since=first,
            until=last,
            items=[UsedOut.of(used) for used in report.items],
            total=UsedOut.of(report.total),
            truncated=report.truncated,
            budgets=BudgetsOut.of(services().books.budgets.own(caller)) if own else None,
        )
    )
