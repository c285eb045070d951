"""Settles ledger rows at once, or in the background while the database is away: nothing that was used is lost."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import structlog

from domain.errors import Unavailable
from domain.generation import EndReason
from repositories.book_rounds import BookRounds
from services.charges import Charge
from services.ledger import Hold, Ledger

log = structlog.get_logger()

_PAUSES_S = (0.1, 0.2, 0.5, 1, 2)


@dataclass(frozen=True, slots=True)
class Due:
    """What a reserved row has come to."""

    hold: Hold
    charges: Sequence[Charge]
    end_reason: EndReason
    error_code: str | None = None


class Settlements:
    """All that this worker has still to write."""

    def __init__(self, rounds: BookRounds, ledger: Ledger) -> None:
        self._rounds = rounds
        self._ledger = ledger
        self._waiting: deque[Due] = deque()
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None

    def settle(self, due: Due) -> None:
        """Write it now; or later, while the database is away. Raises nothing."""
        try:
            self._write(due)
        except Unavailable as error:
            log.warning("settlement_waits", entry_id=due.hold.entry.id, error=error.message)
            self._later(due)

    def flush(self, seconds: float) -> None:
        """Wait until nothing is left to write, so many seconds at most."""
        with self._lock:
            writer = self._writer
        if writer is not None:
            writer.join(seconds)

    def _write(self, due: Due) -> None:
        try:
            if self._ledger.settle_late(due.hold, due.charges, due.end_reason, due.error_code):
                return
            bill = self._ledger.bill(due.hold, due.charges, due.end_reason, due.error_code)
            if self._rounds.settle(bill):
                self._ledger.tell(bill)
        except Unavailable:
            raise
        except Exception:  # the row stays reserved, and is released when nobody can run any more
            log.exception("settlement_failed", entry_id=due.hold.entry.id)

    def _later(self, due: Due) -> None:
        with self._lock:
            self._waiting.append(due)
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="settlements", daemon=True)
                self._writer.start()

    def _write_all(self) -> None:
        pauses = chain(_PAUSES_S, repeat(_PAUSES_S[-1]))
        while True:
            with self._lock:
                if not self._waiting:
                    self._writer = None
                    return
            try:
                self._write(self._waiting[0])
            except Unavailable:
                time.sleep(next(pauses))
            else:
                self._waiting.popleft()
