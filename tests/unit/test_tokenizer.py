"""Counting tokens: exact without a network, or a good guess."""

import socket
from pathlib import Path

import pytest

from services.tokenizer import Tokenizer, estimate

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize("prose", ["prose_en.txt", "prose_zh.txt"])
def test_the_guess_is_within_15_percent_for_prose(prose: str) -> None:
    text = (DATA / prose).read_text()

    exact = Tokenizer("precise").count(text)

    assert abs(Tokenizer("heuristic").count(text) - exact) <= 0.15 * exact


@pytest.mark.parametrize("prose", ["prose_en.txt", "prose_zh.txt"])
def test_no_paragraph_is_guessed_worse_than_by_a_quarter(prose: str) -> None:
    precise = Tokenizer("precise")
    for paragraph in (DATA / prose).read_text().split("\n\n"):
        exact = precise.count(paragraph)

        assert abs(estimate(paragraph) - exact) <= 0.25 * exact, paragraph


def test_the_exact_count_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the tokenizer asked the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert Tokenizer("precise").count("hello world") == 2


@pytest.mark.parametrize("mode", ["precise", "heuristic"])
def test_nothing_counts_nothing(mode: str) -> None:
    assert Tokenizer(mode).count("") == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["precise", "heuristic"])
@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000, "好" * 50_000, "🙂" * 20_000, "\n\t" * 50_000])
def test_strange_input_is_counted_like_any_other(mode: str, text: str) -> None:
    count = Tokenizer(mode).count(text)  # type: ignore[arg-type]

    assert 0 < count <= len(text.encode())
