"""Counting tokens: exact without a network, or a good guess."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tokenizer import Tokenizer, estimate

DATA = Path(__file__).parent.parent / "data"


precise = Tokenizer("precise")


def _paragraphs(name: str) -> list[str]:
    return (DATA / name).read_text().strip().split("\n\n")


def _error(text: str) -> float:
    exact = precise.count(text)
    return abs(estimate(text) - exact) / exact


@pytest.mark.parametrize("name", ["prose_en.txt", "prose_zh.txt"])
def test_the_guess_is_within_15_percent_for_prose(name: str) -> None:
    paragraphs = _paragraphs(name)

    assert len(paragraphs) >= 20
    assert _error("\n\n".join(paragraphs)) <= 0.05  # errors of one kind of text and another's make up for each other
    for start in range(len(paragraphs) - 2):
        assert _error("\n\n".join(paragraphs[start : start + 3])) <= 0.15, paragraphs[start]


@pytest.mark.parametrize(("name", "at_worst"), [("prose_en.txt", 0.15), ("prose_zh.txt", 0.25), ("mixed.txt", 0.35)])
def test_no_paragraph_is_guessed_too_badly(name: str, at_worst: float) -> None:
    for paragraph in _paragraphs(name):
        assert _error(paragraph) <= at_worst, paragraph


def test_code_data_and_mixed_text_are_guessed_well_on_the_whole() -> None:
    assert _error("\n\n".join(_paragraphs("mixed.txt"))) <= 0.15


@given(st.text(min_size=1, max_size=200))
def test_there_are_never_more_tokens_than_bytes(text: str) -> None:
    assert 0 < precise.count(text) <= len(text.encode())
    assert 0 < estimate(text) <= max(1, len(text.encode()))


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


def test_a_long_text_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("services.tokenizer.estimate", lambda text: counted.append(text) or len(counted))
    heuristic = Tokenizer("heuristic")
    one, other = "one " * 100, "two " * 100

    assert [heuristic.count(text) for text in (one, other, one, "".join(list(one)))] == [1, 2, 1, 1]
    assert counted == [one, other]


def test_counts_that_were_not_asked_for_lately_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("services.tokenizer.estimate", lambda text: counted.append(text) or len(counted))
    monkeypatch.setattr("services.tokenizer._REMEMBERED", 2)
    heuristic, (one, two, three) = Tokenizer("heuristic"), (f"{name} " * 100 for name in ("one", "two", "three"))
    for text in (one, two, one, three, one, two):
        heuristic.count(text)

    assert counted == [one, two, three, two]
