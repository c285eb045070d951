"""What the operator declares and what administrators set, as one mapping that is at hand without a query."""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")


class Layered(Mapping[str, T], Generic[T]):
    """The declared things first, then those that were set by hand, by name.

    ``declared`` are those of AI_PROVIDERS_FILE, which nothing changes: what is set by hand under the name of one is out
    of force. ``what`` they are, in the plural.
    """

    def __init__(self, what: str, declared: Mapping[str, T]) -> None:
        self.declared = declared
        self.set_by_hand: Mapping[str, T] = {}
        self._what = what
        self._current: dict[str, T] = dict(declared)

    def replace(self, by_hand: Mapping[str, T]) -> None:
        """Have these in the place of what was set by hand."""
        if shadowed := sorted(by_hand.keys() & self.declared.keys()):
            log.warning("out_of_force", what=self._what, names=shadowed, because="AI_PROVIDERS_FILE declares them")
        self.set_by_hand = by_hand
        self._current = {**by_hand, **self.declared}

    def overrides(self, name: str) -> bool:
        """Whether something that was set by hand is out of force, since that name is declared."""
        return name in self.declared and name in self.set_by_hand

    def __getitem__(self, name: str) -> T:
        """What has the name."""
        return self._current[name]

    def __iter__(self) -> Iterator[str]:
        """The names, as they are now."""
        return iter(self._current)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._current)

    def values(self) -> ValuesView[T]:
        """All of them, as they are now."""
        return self._current.values()

    def items(self) -> ItemsView[str, T]:
        """Names and things, as they are now."""
        return self._current.items()
