"""Titles: from the first words, and what a model answers when it is asked for one."""

import pytest

from services.session_service import title_from_words
from services.title_service import tidy


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("The Highest Mountain", "The Highest Mountain"),
        ('"The Highest Mountain"', "The Highest Mountain"),
        ("**The Highest Mountain**", "The Highest Mountain"),
        ("# The Highest Mountain.", "The Highest Mountain"),
        ("Title: The Highest Mountain", "The Highest Mountain"),
        ('Title: "The Highest Mountain"', "The Highest Mountain"),
        ("**Title:** The Highest Mountain", "The Highest Mountain"),
        ("title - a short story", "title - a short story"),
        ("\n\n  The Highest Mountain\nIt fits because ...", "The Highest Mountain"),
        ("<think>The user asks for\n\na title.</think>\nThe Highest Mountain", "The Highest Mountain"),
        ("<think>I never stop thinking", ""),
        ("《最高的山》", "最高的山"),
        ("标题：最高的山。", "最高的山"),
        ("“最高的山”", "最高的山"),
        ("What is it?", "What is it?"),
        ("C++ and C#: a comparison", "C++ and C#: a comparison"),
        ("", ""),
        ("  \n ** \n", ""),
    ],
)
def test_an_answer_becomes_a_title(answer: str, title: str) -> None:
    assert tidy(answer) == title


def test_a_title_is_short() -> None:
    assert len(tidy("word " * 100)) <= 80
    assert tidy("word " * 100).startswith("word word")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is the tallest mountain?", "What is the tallest mountain?"),
        ("  two\n\nlines\tand  blanks ", "two lines and blanks"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60 + "…"),
        ("word " * 20, "word " * 11 + "word…"),
        ("short " + "x" * 80, "short " + "x" * 54 + "…"),  # not at a blank that would leave next to nothing
        ("请问" * 40, "请问" * 30 + "…"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_the_first_words_are_a_title(text: str, title: str) -> None:
    assert title_from_words(text) == title
