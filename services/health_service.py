"""Whether this installation can serve."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.base_adapter import Providers
from domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Health:
    """Part -> ``ok`` or what is wrong with it."""

    parts: Mapping[str, str]

    @property
    def ready(self) -> bool:
        """Whether every part works."""
        return all(state == "ok" for state in self.parts.values())


class HealthService:
    """Asks every part that the service stands on."""

    def __init__(self, checks: Mapping[str, Callable[[], None]], providers: Providers) -> None:
        self._checks = checks
        self._providers = providers
        self._draining = False

    def begin_drain(self) -> None:
        """Not be ready any more, so that nobody sends new work to this node."""
        self._draining = True

    def check(self) -> Health:
        """Ask them all now; each has its own short timeout."""
        node = "shutting down" if self._draining else "ok"
        return Health({"node": node} | {name: self._state(ping) for name, ping in self._checks.items()})

    def _state(self, ping: Callable[[], None]) -> str:
        try:
            ping()
        except Unavailable as error:
            return error.message
        return "ok"
