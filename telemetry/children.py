"""The children of a metric family, found once: looking one up in the library takes longer than counting."""

from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

F = TypeVar("F", Counter, Histogram)


class Children(Generic[F]):
    """Those that were asked for. Their labels come from closed lists, so they are few."""

    def __init__(self, family: F) -> None:
        self._family: F = family
        self._made: dict[tuple[str, ...], F] = {}

    def of(self, *labels: str) -> F:
        """The one with these labels."""
        made = self._made.get(labels)
        if made is None:
            made = self._made[labels] = self._family.labels(*labels)
        return made
