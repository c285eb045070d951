"""Prices on the wire: decimal USD per million tokens."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field

from api.schemas import ApiModel
from domain.money import Price, price_in_usd, price_of

Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6, description="USD per million tokens.")]


class FiguresIn(ApiModel):
    """What tokens cost. Without one of their own, cached input costs what input does, reasoning what output does."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None
    reasoning: Usd | None = None
    image: Usd | None = Field(None, description="Tokens of pictures that the model makes.")

    def price(self) -> Price:
        """It in integers."""
        told = (self.input, self.output, self.cached_input, self.reasoning, self.image)
        units = [None if usd is None else price_of(usd) for usd in told]
        return Price.of(units[0] or 0, units[1] or 0, *units[2:])


class FiguresOut(ApiModel):
    """What tokens cost, as decimal text."""

    input: str
    output: str
    cached_input: str
    reasoning: str
    image: str

    @classmethod
    def told(cls, price: Price) -> Self:
        """A price as it goes out."""
        return cls(
            input=price_in_usd(price.input),
            output=price_in_usd(price.output),
            cached_input=price_in_usd(price.cached),
            reasoning=price_in_usd(price.reasoning),
            image=price_in_usd(price.image),
        )
