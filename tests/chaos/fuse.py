"""Faults at the n-th operation, at real boundaries: the database's driver, and the wire."""

import sqlite3
import threading
from typing import Any

import sqlalchemy as sa

from tests.cable import Cable, Way


class Fuse:
    """Blows once, at the operation that it is armed for; counts those since then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blow_at = 0
        self.count = 0

    def arm(self, blow_at: int) -> None:
        """Blow at the ``blow_at``-th operation from now on, counted from 1; never at 0."""
        with self._lock:
            self._blow_at, self.count = blow_at, 0

    @property
    def blown(self) -> bool:
        """Whether the operation has come."""
        return 0 < self._blow_at <= self.count

    def strikes(self) -> bool:
        """Count one operation; whether this is the one."""
        with self._lock:
            self.count += 1
            return self.count == self._blow_at


class FusedCable(Cable):
    """Breaks the connection on which the n-th request is on its way (it never arrives), or the n-th reply."""

    def __init__(self, target: int, way: Way) -> None:
        self.fuse = Fuse()
        self._way = way
        super().__init__(target)

    def _lets_pass(self, way: Way) -> bool:
        return way != self._way or not self.fuse.strikes()


def fused_sqlite(engine: sa.Engine) -> Fuse:
    """Let the n-th statement or commit on an engine fail, as on a disk that does."""
    fuse = Fuse()

    def strike() -> None:
        if fuse.strikes():
            raise sqlite3.OperationalError("disk I/O error")

    def connect(_dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> None:
        base: Any = options["factory"]

        class Connection(base):  # type: ignore[misc]
            def perform(self, function: Any, *given: Any) -> Any:
                if given:  # a rollback has nothing to say
                    strike()
                return super().perform(function, *given)

            def commit(self) -> None:
                strike()
                super().commit()

        options["factory"] = Connection

    sa.event.listen(engine, "do_connect", connect)
    engine.dispose()  # what is open already has a connection's own commit
    return fuse
