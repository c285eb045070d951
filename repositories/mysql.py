"""MySQL's driver with a time limit for the whole way in, and a socket that can be found."""

from typing import Any

from pymysql.connections import Connection  # type: ignore[import-untyped]


class QuickConnection(Connection):  # type: ignore[misc]  # it has no types
    """A connection that is made within ``connect_timeout``, or not at all.

    The driver keeps to that limit only until the socket is open: for the greeting of a server that hangs it would wait
    as long as for the slowest statement.
    """

    _read_timeout: float
    connect_timeout: float

    def connect(self, sock: Any = None) -> None:
        """Connect and sign in."""
        patience, self._read_timeout = self._read_timeout, self.connect_timeout
        try:
            super().connect(sock)
        finally:
            self._read_timeout = patience

    def fileno(self) -> int:
        """The socket's number. Raises OSError when it is closed."""
        if self._sock is None:
            raise OSError("This connection is closed.")
        return int(self._sock.fileno())
