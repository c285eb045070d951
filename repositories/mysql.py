"""MySQL's driver with a time limit for the whole way in, a socket that can be found, and cheap connections."""

import ssl
from functools import cache
from typing import Any

from pymysql.connections import Connection  # type: ignore[import-untyped]
from pymysql.constants import SERVER_STATUS  # type: ignore[import-untyped]


class QuickConnection(Connection):  # type: ignore[misc]  # it has no types
    """A connection that is made within ``connect_timeout``, or not at all.

    The driver keeps to that limit only until the socket is open: for the greeting of a server that hangs it would wait
    as long as for the slowest statement.
    """

    _read_timeout: float
    connect_timeout: float
    server_status: int

    def connect(self, sock: Any = None) -> None:
        """Connect and sign in."""
        patience, self._read_timeout = self._read_timeout, self.connect_timeout
        try:
            super().connect(sock)
        finally:
            self._read_timeout = patience

    def escape(self, obj: Any, mapping: Any = None) -> str:
        """A value as it stands in a statement: what it mostly is without a detour."""
        kind = type(obj)
        if kind is str:
            return f"'{self._escape_string(obj)}'"
        if kind is int:
            return str(obj)
        if obj is None:
            return "NULL"
        escaped: str = super().escape(obj, mapping)
        return escaped

    @property
    def in_transaction(self) -> bool:
        """Whether one may be open, as far as the server has said."""
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def commit(self) -> None:
        """End the transaction; until the server says so, it is open."""
        self.server_status |= SERVER_STATUS.SERVER_STATUS_IN_TRANS
        super().commit()

    def fileno(self) -> int:
        """The socket's number. Raises OSError when it is closed."""
        if self._sock is None:
            raise OSError("This connection is closed.")
        return int(self._sock.fileno())

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
        # Where nothing is to be verified, the driver would still read all certificates of the system, for each
        # connection: 20 ms in which the event loop stands still, and twenty times that when a database comes back.
        if options:
            made: ssl.SSLContext = super()._create_ssl_ctx(options)
            return made
        return _unverified()


@cache
def _unverified() -> ssl.SSLContext:
    """What the driver makes without options: TLS if the server has it, whoever that is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
