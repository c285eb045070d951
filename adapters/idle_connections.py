"""Kept-alive connections between two calls."""

import time
import weakref
from collections import deque

from adapters.connections import ProviderConnection

_IDLE_SECONDS = 50  # many servers and address translators forget an idle connection after a minute


class IdleConnections:
    """The connections to one provider that wait for their next call, the last used first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: deque[tuple[float, ProviderConnection]] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def pop(self) -> ProviderConnection | None:
        """One that is still open and has nothing unread, if there is any."""
        while True:
            try:
                since, connection = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _IDLE_SECONDS and connection.is_quiet():
                return connection
            connection.close()

    def push(self, connection: ProviderConnection) -> None:
        """Keep a connection for later; over the limit it is closed."""
        if len(self._idle) >= self._limit:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))

    def clear(self) -> None:
        """Close all of them."""
        _close_all(self._idle)


def _close_all(idle: deque[tuple[float, ProviderConnection]]) -> None:
    while idle:
        idle.pop()[1].close()
