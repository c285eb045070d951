"""Money as integers: prices in micro-USD per million tokens, amounts in nano-USD. People read and write decimal USD."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Self

from domain.usage import Usage

_PRICE_DIGITS = 6  # of a price in USD per million tokens: one such unit is a pico-USD per token
_AMOUNT_DIGITS = 9
_PICO_PER_NANO = 1000
_MOST_USD = 1_000_000


class MoneyError(ValueError):
    """A sum that cannot be read; the message says why, in a sentence without its subject."""


def price_of(usd: object) -> int:
    """A price in USD per million tokens as an integer. Raises :class:`MoneyError`."""
    return _integer(usd, _PRICE_DIGITS)


def amount_of(usd: object) -> int:
    """A sum in USD as nano-USD. Raises :class:`MoneyError`."""
    return _integer(usd, _AMOUNT_DIGITS)


def price_in_usd(price: int) -> str:
    """A price as people write it: ``2.5``."""
    return _decimal(price, _PRICE_DIGITS)


def amount_in_usd(nano: int) -> str:
    """A sum as people write it, exactly: ``0.001234567``."""
    return _decimal(nano, _AMOUNT_DIGITS)


def _integer(usd: object, digits: int) -> int:
    try:
        value = Decimal(str(usd))
    except InvalidOperation:
        raise MoneyError("must be a decimal number of USD") from None
    if isinstance(usd, bool) or not value.is_finite() or not 0 <= value <= _MOST_USD:
        raise MoneyError(f"must be a decimal number of USD from 0 to {_MOST_USD:,}")
    scaled = value.scaleb(digits)
    if scaled != int(scaled):
        raise MoneyError(f"must have at most {digits} decimal places")
    return int(scaled)


def _decimal(units: int, digits: int) -> str:
    sign, (whole, part) = "-" if units < 0 else "", divmod(abs(units), 10**digits)
    return f"{sign}{whole}.{part:0{digits}}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in micro-USD per million tokens.

    ``cached`` is for the cached part of a prompt, ``reasoning`` for that part of a completion, ``image`` for the tokens
    of pictures that a model makes.
    """

    input: int
    output: int
    cached: int
    reasoning: int
    image: int = 0

    @classmethod
    def of(
        cls,
        prompt: int,
        completion: int,
        cached: int | None = None,
        reasoning: int | None = None,
        image: int | None = None,
    ) -> Self:
        """A price of which only the first two are told: what else is not told costs what the whole of it does."""
        return cls(
            input=prompt,
            output=completion,
            cached=prompt if cached is None else cached,
            reasoning=completion if reasoning is None else reasoning,
            image=image or 0,
        )

    def cost(self, usage: Usage) -> int:
        """What the tokens cost, in nano-USD, rounded to the nearest one once."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        reasoning = min(usage.reasoning_tokens, usage.completion_tokens)
        pico = (
            (usage.prompt_tokens - cached) * self.input
            + cached * self.cached
            + (usage.completion_tokens - reasoning) * self.output
            + reasoning * self.reasoning
        )
        return (pico + _PICO_PER_NANO // 2) // _PICO_PER_NANO

    def most(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The most that so many tokens can cost, in nano-USD."""
        dearest = prompt_tokens * max(self.input, self.cached) + completion_tokens * max(self.output, self.reasoning)
        return -(-dearest // _PICO_PER_NANO)


PriceList = Mapping[tuple[str, str], Price]  # by provider and model
