"""Connections while nobody uses them: they have no transaction open, and those that died are found before anybody.

Both without a round trip, as long as all is well.
"""

import select
import time
from typing import Any

import sqlalchemy as sa
from gevent import monkey
from sqlalchemy import exc

_TRUSTED_S = 5.0  # what was used so recently is only looked at: a network that dropped it in silence takes longer
_IDLE_SINCE = "idle_since"

_poll = monkey.get_original("select", "poll")  # gevent's own would switch to other greenlets


def roll_back_on_checkin(engine: sa.Engine) -> None:
    """Let no connection of ``engine`` come back with an open transaction: that of a COMMIT that failed is.

    SQLAlchemy takes it for ended, and would roll back after every COMMIT to be sure.
    """

    @sa.event.listens_for(engine, "reset")
    def _on_reset(connection: Any, _record: Any, _state: Any) -> None:
        if connection is not None and _is_in_transaction(connection):
            connection.rollback()


def _is_in_transaction(connection: Any) -> bool:
    if hasattr(connection, "in_transaction"):
        return bool(connection.in_transaction)
    return bool(connection.info.transaction_status)  # psycopg's; 0 is idle


def check_on_checkout(engine: sa.Engine) -> None:
    """Replace connections of ``engine`` that the server has closed, as a ping would for each, mostly without one.

    A server that has ended, or that has ended a connection, has left word on its socket. Only where there is something
    to read, or after a longer while, does it take a ping, which is a round trip, to know.
    """
    dialect = engine.dialect

    @sa.event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: Any) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: Any, _fairy: Any) -> None:
        since = record.info.get(_IDLE_SINCE)
        if since is None:  # it is new
            return
        try:
            if time.monotonic() - since > _TRUSTED_S or _has_news(connection):
                dialect.do_ping(connection)
        except (OSError, dialect.loaded_dbapi.Error) as error:
            raise exc.InvalidatePoolError from error  # the pool makes a new one for it, and for those that are as old


def _has_news(connection: Any) -> bool:
    """Whether there is something to read."""
    look = _poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(look.poll(0))
