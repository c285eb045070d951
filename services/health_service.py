"""Whether this installation can serve."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.base_adapter import Providers
from domain.errors import Unavailable

_DEGRADED = "degraded: "


@dataclass(frozen=True, slots=True)
class Health:
    """Part -> ``ok``, or what is wrong with it; ``degraded: ...`` where the node does without."""

    parts: Mapping[str, str]

    @property
    def faults(self) -> Mapping[str, str]:
        """The parts that keep this node from serving."""
        return {part: state for part, state in self.parts.items() if state != "ok" and not state.startswith(_DEGRADED)}

    @property
    def ready(self) -> bool:
        """Whether every part works that the node cannot do without."""
        return not self.faults


class HealthService:
    """Asks every part that the service stands on, and the ``helpers``, without which it goes on in a lesser way."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        providers: Providers,
        helpers: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._checks = checks
        self._helpers = helpers or {}
        self._providers = providers
        self._draining = False

    def begin_drain(self) -> None:
        """Not be ready any more, so that nobody sends new work to this node."""
        self._draining = True

    def check(self) -> Health:
        """Ask them all now; each has its own short timeout."""
        node = "shutting down" if self._draining else "ok"
        parts = {name: _state(ping) for name, ping in self._checks.items()}
        helpers = {name: _state(ping, _DEGRADED) for name, ping in self._helpers.items()}
        return Health({"node": node} | parts | helpers)


def _state(ping: Callable[[], None], prefix: str = "") -> str:
    try:
        ping()
    except Unavailable as error:
        return prefix + error.message
    return "ok"
