"""Keeps what a worker has in memory as the database has it, without a query for those who use it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from domain.errors import Unavailable
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork

log = structlog.get_logger()

Reload = Callable[[UnitOfWork], None]
_EVERY_S = 2.0  # another node's change is seen within five seconds, also when a look takes its time


@dataclass(slots=True)
class _Watched:
    stamp: str
    reload: Reload
    number: int | None = None  # of the stamp when it was read


class Refresher:
    """Looks at all stamps at once, and has read anew whatever was changed since, here or at another node.

    Who changes something moves its stamp in the same transaction (``uow.stamps.move``), and calls :meth:`refresh`
    after it. One per worker; :meth:`start` looks every two seconds.
    """

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._watched: list[_Watched] = []
        self._lock = threading.Lock()

    def watch(self, stamp: str, reload: Reload) -> None:
        """Call ``reload`` at the first look, and whenever the stamp has moved.

        It reads with the unit of work that it gets, puts what it has read in the place of the old in one step, and
        does not wait for anything else.
        """
        self._watched.append(_Watched(stamp, reload))

    def refresh(self) -> None:
        """Look now. A database that is away is no error: what is in memory holds until it is back."""
        with self._lock:
            try:
                self._look()
            except Unavailable as error:
                log.warning("refresh_waits", error=error.message)

    def start(self) -> None:
        """Begin to look. To be called in the process that serves, not before it forks."""
        threading.Thread(target=self._look_forever, name="refresher", daemon=True).start()

    def _look_forever(self) -> None:
        while True:
            time.sleep(_EVERY_S)
            try:
                self.refresh()
            except Exception:
                log.exception("refresh_failed")

    def _look(self) -> None:
        with self._unit_of_work(writes=False) as uow:
            numbers = uow.stamps.all()  # first: what is read after it is at least as new
            for one in self._watched:
                number = numbers.get(one.stamp, 0)
                if number != one.number:
                    one.reload(uow)
                    one.number = number
