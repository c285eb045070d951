"""Prices as an operator declares them."""

from collections.abc import Collection, Mapping, Sequence

from domain.money import MoneyError, Price, PriceList, price_of

_NEEDED = ("input", "output")
_OPTIONAL = ("cached_input", "reasoning", "image")


class PriceError(ValueError):
    """Declared prices are wrong; ``faults`` has one sentence for each thing that is."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def read_prices(declared: object, providers: Collection[str]) -> PriceList:
    """Prices from their declaration: ``provider/model`` -> USD per million tokens of each kind.

    ``input`` and ``output`` are needed; ``cached_input`` is else that of input, ``reasoning`` that of output, ``image``
    nothing. Raises :class:`PriceError` with every fault.
    """
    if not isinstance(declared, Mapping):
        raise PriceError(["prices: must be a table of provider/model -> prices"])
    faults: list[str] = []
    prices = {}
    for name, given in declared.items():
        provider, _, model = str(name).partition("/")
        if provider not in providers or not model:
            faults.append(f"prices.{name}: must be called provider/model, by a provider that there is")
        elif (price := _price(f"prices.{name}", given, faults)) is not None:
            prices[provider, model] = price
    if faults:
        raise PriceError(faults)
    return prices


def _price(place: str, given: object, faults: list[str]) -> Price | None:
    if not isinstance(given, Mapping):
        faults.append(f"{place}: must be a table of input, output, cached_input, reasoning and image")
        return None
    before = len(faults)
    faults += [f"{place}: unknown key {key!r}" for key in given if key not in (*_NEEDED, *_OPTIONAL)]
    faults += [f"{place}.{key}: is needed" for key in _NEEDED if key not in given]
    read = {key: _read(f"{place}.{key}", usd, faults) for key, usd in given.items()}
    if len(faults) > before:
        return None
    return Price.of(read["input"], read["output"], read.get("cached_input"), read.get("reasoning"), read.get("image"))


def _read(place: str, usd: object, faults: list[str]) -> int:
    try:
        return price_of(usd)
    except MoneyError as error:
        faults.append(f"{place}: {error}")
        return 0
