"""SQLite without blocking the event loop.

SQLite is a C library: each call, and each wait for its lock, would hold up every greenlet of the worker. Under gevent
these connections run a statement, its rows included, in a native thread; elsewhere they are plain ones.

The way to that thread and back takes 60 us, a statement that finds its rows by an index 10 us. So those of ``brief``
transactions run where they are called, as long as they need not wait: what meets a lock goes on in a thread. Commits
always do: they may have to wait for the disk.
"""

import sqlite3
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from gevent import monkey
from gevent.threadpool import ThreadPool
from sqlalchemy import exc

from repositories.prepared import Executes

T = TypeVar("T")

_THREADS = 4  # readers run beside the one writer
_PATIENCE_MS = 5_000  # another process (a migration, a script) may hold the lock; the wait is off the event loop
_BUSY = sqlite3.SQLITE_BUSY


@cache
def _pool() -> ThreadPool:
    return ThreadPool(_THREADS)


def _off_loop(function: Callable[..., Any], *args: Any) -> Any:
    if monkey.is_module_patched("socket"):
        result, error = _pool().apply(_outcome, (function, args))
        if error is not None:
            raise error
        return result
    return function(*args)


def _outcome(function: Callable[..., Any], args: Any) -> tuple[Any, Exception | None]:
    """Result or error: gevent writes a traceback for what is raised in its threads, although it raises it here too."""
    try:
        return function(*args), None
    except Exception as error:  # noqa: BLE001  # whatever it is, it is raised where it was asked for
        return None, error


class _Cursor(sqlite3.Cursor):
    """A cursor whose rows are fetched together with the statement, in the same hop to the thread."""

    connection: "Connection"
    _rows: list[Any]
    _next = 0

    def execute(self, sql: str, parameters: Any = (), /) -> "_Cursor":
        self.connection.perform(self._execute, sqlite3.Cursor.execute, sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> "_Cursor":
        self.connection.perform(self._execute, sqlite3.Cursor.executemany, sql, parameters)
        return self

    def _execute(self, method: Callable[..., Any], sql: str, parameters: Any) -> None:
        method(self, sql, parameters)
        self._rows, self._next = super().fetchall(), 0

    def fetchone(self) -> Any:
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchmany(self, size: int | None = None) -> list[Any]:
        start, self._next = self._next, self._next + (self.arraysize if size is None else size)
        return self._rows[start : self._next]

    def fetchall(self) -> list[Any]:
        start, self._next = self._next, len(self._rows)
        return self._rows[start:]


class Connection(sqlite3.Connection):
    """One that leaves the loop while it works."""

    _brief = False

    def cursor(self, factory: Any = _Cursor) -> Any:
        """A cursor that does so."""
        return super().cursor(factory)

    def begin(self, *, writes: bool, brief: bool) -> None:
        """Begin a transaction. One that reads first and writes later can fail at the write: writers lock here."""
        self._set_brief(brief)
        self.perform(super().execute, "BEGIN IMMEDIATE" if writes else "BEGIN")

    def in_one_go(self, dialect: sa.Dialect, work: Callable[[Executes], T]) -> T:
        """What ``work`` executes, in one writing transaction and one hop to a thread."""
        self._set_brief(False)
        done: T = _off_loop(self._transact, work, _Plain(self, dialect))
        return done

    def _transact(self, work: Callable[[Executes], T], plain: "_Plain") -> T:
        plain.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            result = work(plain)
            plain.exec_driver_sql("COMMIT")
        finally:
            if self.in_transaction:
                plain.exec_driver_sql("ROLLBACK")
        return result

    def _set_brief(self, brief: bool) -> None:
        if brief != self._brief:
            self._brief = brief
            self._wait_up_to(0 if brief else _PATIENCE_MS)

    def perform(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run something of this connection's: here if it is brief, and as long as it need not wait."""
        if not self._brief:
            return _off_loop(function, *args)
        try:
            return function(*args)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != _BUSY:
                raise
        return _off_loop(self._patiently, function, *args)

    def _patiently(self, function: Callable[..., Any], *args: Any) -> Any:
        self._wait_up_to(_PATIENCE_MS)
        try:
            return function(*args)
        finally:
            self._wait_up_to(0)

    def _wait_up_to(self, milliseconds: int) -> None:
        """For a lock that another connection holds."""
        sqlite3.Connection.cursor(self, sqlite3.Cursor).execute(f"PRAGMA busy_timeout={milliseconds}")

    def commit(self) -> None:
        """Commit: it may have to wait for the disk."""
        _off_loop(super().commit)

    def rollback(self) -> None:
        """Roll back."""
        self.perform(super().rollback)


class _Plain:
    """Statements on a connection in whatever thread this is."""

    def __init__(self, connection: Connection, dialect: sa.Dialect) -> None:
        self._connection = connection
        self.dialect = dialect

    def exec_driver_sql(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
        cursor = sqlite3.Cursor(self._connection)
        if isinstance(parameters, list):
            return cursor.executemany(statement, parameters)
        return cursor.execute(statement, parameters)


CONNECT_ARGS = {"factory": Connection, "check_same_thread": False}


def configure(engine: sa.Engine) -> None:
    """Make every connection of ``engine`` durable against a crash of the process, and transactions explicit."""

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver's own implicit BEGIN comes too late
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={_PATIENCE_MS}",
            "journal_mode=WAL",
            "synchronous=NORMAL",  # kill -9 loses nothing; a power cut may lose the last commits, never consistency
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        driver = cast("Connection", connection.connection.dbapi_connection)
        try:
            driver.begin(writes=options.get("writes", True), brief=options.get("brief", False))
        except sqlite3.Error as error:
            raise exc.OperationalError("BEGIN", None, error) from error
