"""Group commit: what comes while a transaction is being written goes into the next one, all of it together."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from domain.errors import Unavailable

log = structlog.get_logger()

_LINGER_S = 1.0
_MOST = 200  # in one round: a statement for so many rows is far below what databases take


class Deed:
    """Something that is to be written. ``error`` is why it was not."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None


D = TypeVar("D", bound=Deed)


class GroupCommit(Generic[D]):
    """Has deeds written in rounds, in the order in which they come, by a thread that is there while there are any.

    ``write`` raises nothing: it leaves what became of each deed in it.
    """

    def __init__(self, write: Callable[[Sequence[D]], None], name: str) -> None:
        self._write = write
        self._name = name
        self._lock = threading.Lock()
        self._waiting: list[D] = []
        self._called = threading.Event()
        self._writer: threading.Thread | None = None

    def do(self, deed: D) -> D:
        """Return once it is written; raises its error. It is written also when its caller is ended meanwhile."""
        self.put(deed)
        deed.done.wait()
        if deed.error is not None:
            raise deed.error.with_traceback(None)
        return deed

    def put(self, deed: D) -> None:
        """Have it written, after all that came before. Nobody waits for it."""
        with self._lock:
            self._waiting.append(deed)
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name=self._name, daemon=True)
                self._writer.start()
        self._called.set()

    def _write_all(self) -> None:
        while deeds := self._next():
            try:
                self._write(deeds)
            except BaseException:  # this thread is ended: nobody may wait for ever, or take it for written
                log.exception("writer_ended", name=self._name)
                self._give_up(deeds)
                return
            finally:
                for deed in deeds:
                    deed.done.set()

    def _give_up(self, deeds: Sequence[D]) -> None:
        with self._lock:
            self._writer = None
        for deed in deeds:
            deed.error = deed.error or Unavailable("This node is restarting.", "shutting_down", retry_after=2)

    def _next(self) -> Sequence[D]:
        """Those of the next round, once there are any; nothing when this thread is to end."""
        self._called.wait(_LINGER_S)
        with self._lock:
            deeds, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            if not self._waiting:
                self._called.clear()
            if not deeds:
                self._writer = None
        return deeds
