"""Money in integers: read, written, multiplied with tokens; and prices as they are declared."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ConfigurationError, ai_prices, ai_providers, load_settings
from domain.money import MoneyError, Price, amount_in_usd, amount_of, price_in_usd, price_of
from domain.prices import PriceError, read_prices
from domain.usage import Usage


@pytest.mark.parametrize(
    ("usd", "price"),
    [
        (2.5, 2_500_000),
        ("2.50", 2_500_000),
        (0.1, 100_000),
        (10, 10_000_000),
        ("0.000001", 1),
        (Decimal("1e-6"), 1),
        (0, 0),
    ],
)
def test_prices_are_read_exactly(usd: object, price: int) -> None:
    assert price_of(usd) == price


@pytest.mark.parametrize(
    ("usd", "fault"),
    [
        ("two", "must be a decimal number"),
        (None, "must be a decimal number"),
        (True, "must be a decimal number"),
        (-1, "from 0 to 1,000,000"),
        ("NaN", "from 0 to 1,000,000"),
        ("Infinity", "from 0 to 1,000,000"),
        (1_000_001, "from 0 to 1,000,000"),
        ("0.0000001", "at most 6 decimal places"),
    ],
)
def test_what_is_no_price_is_refused(usd: object, fault: str) -> None:
    with pytest.raises(MoneyError, match=fault):
        price_of(usd)


@given(st.integers(0, 10**15))
def test_amounts_are_written_as_they_are_read(nano: int) -> None:
    assert amount_of(amount_in_usd(nano)) == nano


def test_amounts_are_plain_decimals() -> None:
    assert [amount_in_usd(nano) for nano in (0, 1, 1_500_000_000, -2_000_000)] == ["0", "0.000000001", "1.5", "-0.002"]
    assert [price_in_usd(price) for price in (0, 2_500_000, 10_000_000)] == ["0", "2.5", "10"]


def test_each_kind_of_token_has_its_price() -> None:
    price = Price(input=2_500_000, output=10_000_000, cached=1_250_000, reasoning=20_000_000)

    # 600 at 2,500 and 400 at 1,250; 40 at 10,000 and 10 at 20,000 nano-USD
    assert price.cost(Usage(1000, 50, cached_tokens=400, reasoning_tokens=10)) == 2_600_000
    assert price.cost(Usage(0, 0)) == 0


def test_a_cost_is_rounded_once() -> None:
    price = Price.of(499, 1)  # pico-USD per token

    assert price.cost(Usage(1, 0)) == 0
    assert price.cost(Usage(1, 1)) == 1
    assert price.cost(Usage(1000, 0)) == 499


def test_parts_are_never_larger_than_the_whole() -> None:
    price = Price(input=1_000_000, output=1_000_000, cached=0, reasoning=0)

    assert price.cost(Usage(10, 10, cached_tokens=99, reasoning_tokens=99)) == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_nothing_costs_more_than_the_most(prompt: int, completion: int, cached: int, reasoning: int) -> None:
    price = Price(input=150_001, output=600_003, cached=75_007, reasoning=900_001)
    usage = Usage(prompt, completion, cached_tokens=cached, reasoning_tokens=reasoning)

    assert 0 <= price.cost(usage) <= price.most(prompt, completion)


def test_what_is_not_told_costs_what_the_whole_of_it_does() -> None:
    prices = read_prices({"one/org/model": {"input": 2, "output": "4.5"}}, ["one"])

    assert prices == {("one", "org/model"): Price(2_000_000, 4_500_000, 2_000_000, 4_500_000, 0)}


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ([], "prices: must be a table"),
        ({"one": {"input": 1, "output": 1}}, "prices.one: must be called provider/model"),
        ({"two/a": {"input": 1, "output": 1}}, "prices.two/a: must be called provider/model"),
        ({"one/a": 7}, "prices.one/a: must be a table"),
        ({"one/a": {"input": 1}}, "prices.one/a.output: is needed"),
        ({"one/a": {"input": 1, "output": 1, "audio": 2}}, "prices.one/a: unknown key 'audio'"),
        ({"one/a": {"input": -1, "output": 1}}, "prices.one/a.input: must be a decimal number of USD from 0"),
    ],
)
def test_wrong_prices_are_refused(declared: object, fault: str) -> None:
    with pytest.raises(PriceError) as caught:
        read_prices(declared, ["one"])

    assert caught.value.faults[0].startswith(fault)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(PriceError) as caught:
        read_prices({"one/a": {"input": "x", "colour": 1}, "two/b": {}}, ["one"])

    assert len(caught.value.faults) == 4


def test_prices_stand_beside_providers_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "ai.toml").write_text(
        '[local]\nadapter_class = "adapters.openai_adapter.OpenAIAdapter"\n'
        '[prices]\n"local/a" = {input = 0.15, output = 0.6}\n'
    )
    settings = load_settings(AI_PROVIDERS_FILE=str(tmp_path / "ai.toml"))
    entries = ai_providers(settings)

    assert "prices" not in entries
    assert ai_prices(settings, entries)["local", "a"].input == 150_000


def test_a_file_with_wrong_prices_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "ai.yaml").write_text("prices:\n  echo/echo: {input: 1}\n")
    settings = load_settings(AI_PROVIDERS_FILE=str(tmp_path / "ai.yaml"))

    with pytest.raises(ConfigurationError, match=r"prices\.echo/echo\.output: is needed"):
        ai_prices(settings, ai_providers(settings))
