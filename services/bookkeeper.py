"""Adds the ledger up in the background, so that reports need not read all of it."""

import threading
import time
from datetime import UTC, datetime, timedelta

import structlog

from domain.clock import now
from domain.errors import Unavailable
from domain.ledger import Entry
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork

log = structlog.get_logger()

_EVERY_S = 10.0  # where it has little to do
_REST_S = 0.05  # between two steps of many: others want to write too
_STEP = 1_000  # rows
_WORTH = timedelta(seconds=30)  # what is newer than this beyond the mark is left for later
_DELAY = timedelta(minutes=2)  # longer than it takes to write a row, with clocks that differ


class Bookkeeper:
    """One per worker; they take turns. Reports are exact wherever the mark is: its place is a matter of speed."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._mark = self._seen_at = datetime.min.replace(tzinfo=UTC)  # never seen yet

    def start(self) -> None:
        """Begin. To be called in the process that serves, not before it forks."""
        threading.Thread(target=self._work, name="bookkeeper", daemon=True).start()

    def note(self, uow: UnitOfWork, entry: Entry) -> None:
        """A row was settled in this transaction; called last in it. If the mark is past it, it is added at once."""
        if self._is_known() and self._is_ahead(entry):
            return
        self._remember(uow.usage_sums.mark())
        if entry.created_at < self._mark:
            uow.usage_sums.add_late(entry.generation_id, entry.kind, entry.created_at)

    def may_have_passed(self, entry: Entry) -> bool:
        """Whether the mark may be past a row, as where a node's clock is behind or its machine was asleep.

        Most are answered by what we remember of the mark. Not to be called in a transaction; raises Unavailable.
        """
        if not self._is_known():
            with self._unit_of_work(writes=False, brief=True) as uow:
                self._remember(uow.usage_sums.mark())
        return not self._is_ahead(entry)

    def _is_known(self) -> bool:
        return now() - self._seen_at < _WORTH

    def _is_ahead(self, entry: Entry) -> bool:
        return entry.created_at > max(self._mark + _WORTH, now() - _DELAY)

    def add_up(self) -> None:
        """Move the mark as far as it may go, in steps. Raises Unavailable."""
        with self._unit_of_work(writes=False) as uow:
            mark, horizon = uow.usage_sums.mark(), uow.usage_sums.horizon(_DELAY)
        self._remember(mark)
        while mark < horizon - _WORTH:
            with self._unit_of_work() as uow:
                mark = uow.usage_sums.add_up(horizon, most=_STEP)
                uow.commit()
            self._remember(mark)
            time.sleep(_REST_S)

    def _remember(self, mark: datetime) -> None:
        self._mark, self._seen_at = mark, now()

    def _work(self) -> None:
        while True:
            try:
                self.add_up()
            except Unavailable as error:
                log.warning("bookkeeper_waits", error=error.message)
            except Exception:
                log.exception("bookkeeper_failed")
            time.sleep(_EVERY_S)
