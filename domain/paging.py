"""A page of a list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows and the cursor of the next ones; None at the end."""

    items: Sequence[T]
    next_cursor: str | None

    def map(self, function: Callable[[T], U]) -> "Page[U]":
        """The same page of other things."""
        return Page([function(item) for item in self.items], self.next_cursor)
