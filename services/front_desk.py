"""Where requests come in that nothing is stored of: each is in the books, and settled there whatever comes."""

import threading
import time
from typing import Protocol

from domain.errors import AppError, Unavailable
from domain.generation import EndReason
from domain.identifiers import new_id
from domain.ledger import Booking, EntryKind
from domain.principal import Principal
from repositories.book_rounds import BookRounds
from repositories.budget_round import Refused
from services.budget_service import refusal
from services.charges import tokens_of
from services.generation_runner import STOP_WAIT_S
from services.key_limiter import Held
from services.ledger import Hold, Ledger
from services.settlements import Due, Settlements
from services.upstream_handle import UpstreamHandle

_FLUSH_S = 3.0
_OVERDUE_S = 60.0


class Running(Protocol):
    """What was let in and has not ended. ``id`` is that in the books, ``created`` in Unix seconds."""

    id: str
    created: int
    upstream: UpstreamHandle

    def cut(self) -> None:
        """End it, from another greenlet, since this worker has to go."""

    def settle(self, reason: EndReason) -> None:
        """Write what it came to, if its own greenlet does not come to it."""


class FrontDesk:
    """One per worker. ``longest_s``: what anything here may take, in seconds."""

    def __init__(self, rounds: BookRounds, ledger: Ledger, longest_s: float) -> None:
        self._longest_s = longest_s
        self._rounds = rounds
        self._ledger = ledger
        self._settlements = Settlements(rounds, ledger)
        self._running: dict[str, Running] = {}
        self._draining = False
        self._interrupting = False
        self._ended_one = threading.Event()

    def check_open(self) -> None:
        """Raises :class:`Unavailable` when this worker is going down."""
        if self._draining:
            raise shutting_down()

    def reserve(self, held: Held, hold: Hold) -> None:
        """Write in the books what a request may use; if that fails, it costs nothing of its key's limits either.

        Raises BudgetExceeded, Unavailable.
        """
        with held:
            refused = self._reserved(hold)
            if refused is not None:
                most, moment = hold.entry.held, hold.entry.created_at
                raise refusal(refused.standings, most, moment, of_key=refused.of_key)

    def _reserved(self, hold: Hold) -> Refused | None:
        try:
            return self._rounds.reserve(hold.entry)
        except AppError:
            raise
        except BaseException:  # who asked is ended, and it may be written all the same
            self._rounds.settle_unseen(self._ledger.bill(hold, [], EndReason.USER_STOP))
            raise

    def enter(self, one: Running) -> None:
        """It runs from now on."""
        self._running[one.id] = one
        if self._interrupting:
            one.cut()

    def leave(self, one: Running) -> bool:
        """It has ended; false if that was known before."""
        left = self._running.pop(one.id, None) is not None
        self._ended_one.set()
        return left

    def settle(self, due: Due, held: Held) -> None:
        """Write what it came to, and give its limits back. Raises nothing: a database that is away is waited for."""
        held.settle(tokens_of(due.charges))
        self._settlements.settle(due)

    def count(self) -> int:
        """How many run here now."""
        return len(self._running)

    def settle_overdue(self) -> None:
        """Settle what should have ended a minute ago: called every minute.

        Its client may have read everything but the end, and never read that; and what is never settled is taken for
        what a dead worker has left, which costs nothing.
        """
        for one in list(self._running.values()):
            if time.time() - one.created > self._longest_s + _OVERDUE_S:
                one.upstream.stop()
                one.settle(EndReason.TIMEOUT_TOTAL)

    def begin_drain(self) -> None:
        """Let nothing in from now on."""
        self._draining = True

    def drain(self, seconds: float) -> None:
        """Let what runs come to its end within ``seconds``; then cut the rest short, and write what it came to."""
        self.begin_drain()
        self._wait_for_all(seconds)
        self._interrupting = True
        for one in list(self._running.values()):
            one.cut()
        self._wait_for_all(STOP_WAIT_S)
        for one in list(self._running.values()):  # nobody reads these: their greenlets do not come to it
            one.settle(EndReason.SHUTDOWN)
        self._settlements.flush(_FLUSH_S)

    def _wait_for_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._running and (left := deadline - time.monotonic()) > 0:
            self._ended_one.clear()
            if self._running:
                self._ended_one.wait(left)


def shutting_down() -> Unavailable:
    """The error while this worker goes."""
    return Unavailable("This node is restarting.", "shutting_down", retry_after=2)


def booking_for(principal: Principal, public_model: str, kind: EntryKind) -> Booking:
    """What the ledger keeps of a request that nothing else is stored of."""
    key = principal.key
    return Booking(
        user_id=principal.user_id,
        generation_id=new_id("gen"),
        public_model=public_model,
        key_id=key.id if key else None,
        key_budgeted=key.budgeted if key else False,
        kind=kind,
    )
