"""Text that comes in pieces."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from domain.growing_text import GrowingText


@given(st.text(), st.lists(st.text(), max_size=300))
def test_it_is_all_that_was_written(first: str, pieces: list[str]) -> None:
    text = GrowingText(first)
    for piece in pieces:
        text.add(piece)

    assert str(text) == first + "".join(pieces)
    assert bool(text) == bool(str(text))


def test_a_long_one_takes_little_more_room_than_its_characters() -> None:
    tracemalloc.start()
    try:
        text = GrowingText()
        for number in range(50_000):
            text.add(f" {number:05}")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken < 2 * len(str(text))
