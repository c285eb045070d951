"""What models cost, for administrators."""

from typing import Annotated, Literal, Self

from flask import Response
from flask_openapi import Tag
from pydantic import ConfigDict, Field

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import admin_only, returns
from api.message_schemas import Name
from api.price_schemas import FiguresIn
from api.schemas import ApiModel, Nothing, QueryModel, ok
from domain.money import price_in_usd
from services.price_service import PriceView

bp = Blueprint(
    "prices",
    __name__,
    url_prefix="/api/v1/prices",
    abp_tags=[Tag(name="prices")],
    abp_security=[{"bearer": []}],
)

ProviderName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]


class PriceQuery(QueryModel):
    """Which model."""

    provider: ProviderName
    model: Name


class PriceIn(FiguresIn):
    """A model's price. Without one of their own, cached input costs what input does, and reasoning what output does."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"provider": "local", "model": "large", "input": "2.5", "cached_input": 1.25, "output": 10}]
        }
    )

    provider: ProviderName
    model: Name


class PriceOut(ApiModel):
    """A model's price in USD per million tokens, as decimal text; null for a model without one, which costs 0.

    `source`: `file` (AI_PROVIDERS_FILE; locked), `admin` (set here) or `none`.
    """

    provider: str
    model: str
    input: str | None
    output: str | None
    cached_input: str | None
    reasoning: str | None
    image: str | None
    source: Literal["file", "admin", "none"]
    locked: bool

    @classmethod
    def of(cls, view: PriceView) -> Self:
        """It as it goes out."""
        price = view.price
        return cls(
            provider=view.provider,
            model=view.model,
            input=price_in_usd(price.input) if price else None,
            output=price_in_usd(price.output) if price else None,
            cached_input=price_in_usd(price.cached) if price else None,
            reasoning=price_in_usd(price.reasoning) if price else None,
            image=price_in_usd(price.image) if price else None,
            source=view.source,
            locked=view.source == "file",
        )


class PricesOut(ApiModel):
    """All prices, and the configured models that have none."""

    items: list[PriceOut]


@bp.get("", **returns(PricesOut))
@admin_only
def list_prices() -> Response:
    """What models cost."""
    return ok(PricesOut(items=[PriceOut.of(view) for view in services().books.prices.all(principal())]))


@bp.put("", **returns(PriceOut))
@admin_only
def put(body: PriceIn) -> Response:
    """Set a model's price, for turns that begin from now on. 409 `price_locked` where the file sets it."""
    return ok(PriceOut.of(services().books.prices.put(principal(), body.provider, body.model, body.price())))


@bp.delete("", **returns(Nothing))
@admin_only
def delete(query: PriceQuery) -> Response:
    """Take a model's price away. 404 `price_not_found`, 409 `price_locked`."""
    services().books.prices.delete(principal(), query.provider, query.model)
    return ok(Nothing())
