"""Connections to the database."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import exc

from domain.errors import AppError, StorageFull, Unavailable
from domain.observer import NOBODY, Observer
from repositories import database_errors, idle_connections, sqlite
from repositories.database_watch import DatabaseWatch
from repositories.plain import PlainConnection
from repositories.prepared import Executes

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 3
_STATEMENT_TIMEOUT_S = 15  # no statement of a request takes this long; a frozen database must not hold it longer
_FULL_FOR_S = 10.0  # between two looks whether the disk has room again
_NOTHING = contextlib.nullcontext()


def engine_options(url: str, pool_size: int) -> dict[str, Any]:
    """Arguments for ``create_engine`` by kind of database: pools that fail fast, and drivers that do not hang."""
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": _CONNECT_TIMEOUT_S,
        "pool_use_lifo": True,
        "pool_recycle": 280,
        "pool_reset_on_return": None,  # idle_connections sees to it, and to those that died
    }
    match sa.make_url(url).get_backend_name():
        case "sqlite":
            options |= {"connect_args": dict(sqlite.CONNECT_ARGS), "poolclass": sa.QueuePool}
        case "mysql":
            options |= {
                "isolation_level": "READ COMMITTED",
                "connect_args": {
                    "connect_timeout": _CONNECT_TIMEOUT_S,
                    "read_timeout": _STATEMENT_TIMEOUT_S,
                    "write_timeout": _STATEMENT_TIMEOUT_S,
                },
            }
        case "postgresql":
            options["connect_args"] = {
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_S * 1000} -c timezone=UTC",
                "tcp_user_timeout": _STATEMENT_TIMEOUT_S * 1000,
            }
    return options


class Database:
    """Opens short transactions on one engine. Nothing that waits for the network may run inside one."""

    def __init__(self, engine: sa.Engine, observer: Observer = NOBODY) -> None:
        self.engine = engine
        self._observer = observer
        # SQLite has one writer: in this process they queue here, fairly and without polling its lock.
        self._writer: contextlib.AbstractContextManager[Any] = _NOTHING
        self._watch: DatabaseWatch | None = None
        self._full_at: float | None = None  # when the disk was last found full, on the monotonic clock
        idle_connections.roll_back_on_checkin(engine)
        if engine.dialect.name == "sqlite":
            sqlite.configure(engine)
            self._writer = threading.Lock()
            # The first connection turns on WAL, for which nobody waits: two first ones at once would be "locked".
            engine.connect().close()
        else:
            self._watch = DatabaseWatch(engine, observer)
            idle_connections.check_on_checkout(engine)
        self._engines = {
            (writes, brief): engine.execution_options(writes=writes, brief=brief)
            for writes in (True, False)
            for brief in (True, False)
        }

    @contextlib.contextmanager
    def transaction(self, *, writes: bool, brief: bool = False) -> Iterator[sa.Connection]:
        """One transaction: rolled back on leaving, unless committed.

        ``brief``: each of its statements finds a few rows by an index; see :mod:`repositories.sqlite`.

        Raises :class:`Conflict` for a broken constraint, :class:`Unavailable` when the database cannot serve,
        :class:`StorageFull` when its disk is full.
        """
        asked, mark = time.monotonic(), self._watch.begin() if self._watch else None
        try:  # around all of it: the roll-back at the end may find the connection broken too
            with self._writer if writes else _NOTHING, self._engines[writes, brief].connect() as connection:
                connection.begin()
                self._observer.connection_taken(time.monotonic() - asked)
                yield connection
        except exc.SQLAlchemyError as error:
            raise self._noted(error) from error
        finally:
            if self._watch:
                self._watch.end(mark)

    def in_one_go(self, work: Callable[[Executes], T]) -> T:
        """What ``work`` does, which is nothing but to execute plain statements, in one writing transaction.

        On SQLite all of it is one hop to a native thread. Raises what :meth:`transaction` does.
        """
        if self._watch is None:
            return self._in_one_hop(work)
        with self.transaction(writes=True) as connection:
            result = work(PlainConnection(connection))
            connection.commit()
        return result

    def _in_one_hop(self, work: Callable[[Executes], T]) -> T:
        asked, dialect = time.monotonic(), self.engine.dialect
        try:
            with self._writer, contextlib.closing(self.engine.raw_connection()) as pooled:
                self._observer.connection_taken(time.monotonic() - asked)
                return cast("sqlite.Connection", pooled.dbapi_connection).in_one_go(dialect, work)
        except sqlite3.Error as error:
            told = exc.DBAPIError.instance("", None, error, sqlite3.Error, dialect=dialect)
            raise self._noted(told) from error
        except exc.SQLAlchemyError as error:
            raise self._noted(error) from error

    def connections(self) -> tuple[int, int]:
        """How many are in use now, and may be at most."""
        pool = cast("sa.QueuePool", self.engine.pool)
        return pool.checkedout(), pool.size()

    def _noted(self, error: exc.SQLAlchemyError) -> AppError | exc.SQLAlchemyError:
        found = database_errors.mapped(error)
        if isinstance(found, StorageFull):
            self._full_at = time.monotonic()
        if isinstance(found, Unavailable):
            self._observer.database_failed(database_errors.kind_of(error, found))
        return found

    def ping(self) -> None:
        """Raises :class:`Unavailable` unless the database answers."""
        with self.transaction(writes=False) as connection:
            connection.execute(sa.text("SELECT 1"))

    def check_storage(self) -> None:
        """Raises :class:`StorageFull` from when the disk is found full until it takes a write again."""
        if self._full_at is None:
            return
        if time.monotonic() - self._full_at < _FULL_FOR_S:
            raise database_errors.storage_full()
        with self.transaction(writes=True) as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))
            connection.commit()
        self._full_at = None
