"""Which names may become labels: those of the configuration, and ``other`` for whatever clients make up."""

from collections.abc import Iterable

OTHER = "other"
_MOST_TARGETS = 2000  # what administrators add at run time included
_MOST_CODES = 200  # far above the number of our own; a provider's adapter may bring some


class Targets:
    """The configured (provider, model) pairs."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        self.known: frozenset[tuple[str, str]] = frozenset()
        self._providers: frozenset[str] = frozenset()
        self.add(known)

    def add(self, known: Iterable[tuple[str, str]]) -> None:
        """More of them; a series that there is stays, so none is ever taken away. Beyond 2,000 no more are named."""
        new = [pair for pair in dict.fromkeys(known) if pair not in self.known]
        self.known |= frozenset(new[: _MOST_TARGETS - len(self.known)])
        self._providers = frozenset(provider for provider, _ in self.known)

    def labels(self, provider: str, model: str) -> tuple[str, str]:
        """The two labels of a target."""
        if (provider, model) in self.known:
            return provider, model
        return (provider if provider in self._providers else OTHER), OTHER


class Codes:
    """Error codes: a closed list in our own code, kept closed where other people's code adds to it."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def label(self, code: str | None) -> str:
        """The label of an error code; empty for none."""
        if not code or code in self._seen:
            return code or ""
        if len(self._seen) >= _MOST_CODES:
            return OTHER
        self._seen.add(code)
        return code
