"""Notices that the database server hangs, so that nobody waits for it longer than three seconds or so.

A server that has stopped refuses its callers at once. One that is frozen, or behind a network that has gone dark, says
nothing: a driver would wait for it as long as for the slowest statement. So while nothing comes back, a connection is
made on the side. If that succeeds, or is refused, statements may take their time. If it meets silence too, everybody
who waits is sent away, and so is whoever comes, until the server answers again.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
import structlog

from domain.errors import Unavailable
from domain.observer import Observer

log = structlog.get_logger()

_TICK_S = 0.2
_QUIET_S = 0.4
_PROBE_S = 2  # the least that psycopg takes for a time limit
_AGAIN_S = 0.5


class DatabaseWatch:
    """Watches over the transactions of one engine, in a thread that sleeps while there are none."""

    def __init__(self, engine: sa.Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._connections: WeakSet[Any] = WeakSet()
        self._begun: dict[object, float] = {}  # transaction -> when
        self._heard_at = 0.0
        self._busy = threading.Event()
        self._watcher: threading.Thread | None = None
        self.away_since: float | None = None  # on the monotonic clock
        sa.event.listen(engine, "do_connect", self._connect)
        sa.event.listen(engine, "connect", lambda connection, _record: self._connections.add(connection))
        sa.event.listen(engine, "engine_disposed", lambda _engine: self._end())

    def begin(self) -> object:
        """A transaction begins; what stands for it. Raises :class:`Unavailable` at once while the server hangs."""
        self._check()
        mark = object()
        self._begun[mark] = time.monotonic()
        self._wake()
        return mark

    def end(self, mark: object) -> None:
        """It has ended."""
        del self._begun[mark]
        self._heard_at = time.monotonic()

    def _check(self) -> None:
        if self.away_since is not None:
            self._observer.database_failed("hangs")
            raise Unavailable("The database does not answer.", "database_unavailable")

    def _connect(self, _dialect: sa.Dialect, _record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        self._check()  # the pool makes new connections for those that were hung up on
        return self._dial(args, options)

    def _dial(self, args: Sequence[Any], options: dict[str, Any]) -> Any:
        if self._engine.dialect.name == "mysql":
            from repositories.mysql import QuickConnection  # noqa: PLC0415  # other databases do without the driver

            return QuickConnection(*args, **options)
        return self._engine.dialect.connect(*args, **options)

    # The watcher

    def _wake(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="database-watch", daemon=True)
            self._watcher.start()
        if not self._busy.is_set():  # it costs more to set, and the watcher looks at what has begun after it clears
            self._busy.set()

    def _end(self) -> None:
        self._watcher = None
        self._busy.set()

    def _watch(self) -> None:
        while self._is_on_duty():
            self._busy.clear()
            if not self._begun and self._is_on_duty():
                self._busy.wait()
            time.sleep(_TICK_S)
            if self._is_quiet() and self._is_silent():
                self._wait_for_return()

    def _is_on_duty(self) -> bool:
        return self._watcher is threading.current_thread()

    def _is_quiet(self) -> bool:
        """Whether somebody waits, and nobody has had an answer for a while."""
        oldest = min(list(self._begun.values()), default=None)
        return oldest is not None and time.monotonic() - max(oldest, self._heard_at) > _QUIET_S

    def _is_silent(self) -> bool:
        """Whether the server has nothing to say to a new connection either, nor meanwhile to those who wait."""
        asked_at = time.monotonic()
        if self._answers():
            self._heard_at = time.monotonic()
        return self._heard_at < asked_at and bool(self._begun)

    def _answers(self) -> bool:
        """Whether a new connection is made or refused in time."""
        args, options = self._engine.dialect.create_connect_args(self._engine.url)
        asked_at = time.monotonic()
        try:
            self._dial(args, {**options, "connect_timeout": _PROBE_S}).close()
        except self._engine.dialect.loaded_dbapi.Error:
            return time.monotonic() - asked_at < _PROBE_S * 0.9
        return True

    def _wait_for_return(self) -> None:
        self.away_since = time.monotonic()
        log.warning("database_hangs", waiting=len(self._begun))
        for connection in list(self._connections):
            self._hang_up(connection)
        while self._is_on_duty() and not self._answers():
            time.sleep(_AGAIN_S)
        log.info("database_answers", away_s=round(time.monotonic() - self.away_since, 1))
        self.away_since = None

    def _hang_up(self, connection: Any) -> None:
        """Have whoever reads from the connection find its end; its socket object is left to the driver."""
        gone = contextlib.suppress(OSError, self._engine.dialect.loaded_dbapi.Error)
        with gone, socket.socket(fileno=os.dup(connection.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
