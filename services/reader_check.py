"""Whether somebody who reads for long may still read."""

import contextlib
import time
from collections.abc import Callable

from domain.errors import Unavailable
from domain.principal import Principal

RECHECK_S = 15.0  # how long a reader who was signed out may go on


class ReaderCheck:
    """To be called often; it asks every ``every_s`` seconds, of which more than :data:`RECHECK_S` are not let pass."""

    def __init__(self, ask: Callable[[Principal], None], principal: Principal, every_s: float) -> None:
        self._ask = ask
        self._principal = principal
        self._every_s = min(every_s, RECHECK_S)
        self._asked_at = time.monotonic()

    def __call__(self) -> None:
        """Raises NotAuthenticated once the reader's credential has ended."""
        if time.monotonic() - self._asked_at < self._every_s:
            return
        self._asked_at = time.monotonic()
        with contextlib.suppress(Unavailable):  # the next time will tell
            self._ask(self._principal)
