"""The books of what is asked for without a session: the requests of a worker are written together, in rounds.

Why is told in docs/decisions/0017-books-in-rounds.md. What is in a round is in :mod:`repositories.book_round`.
"""

from collections.abc import Sequence
from functools import partial

from domain.errors import AppError, Unavailable
from domain.ledger import Bill, Entry
from repositories import database_errors
from repositories.book_round import Reserving, Settling, write_round
from repositories.budget_round import Refused
from repositories.database import Database
from repositories.group_commit import GroupCommit

_TRIES = 5


class BookRounds:
    """Reserves and settles; each call returns once what it wrote is permanent.

    Raises :class:`Unavailable` when the database cannot serve, :class:`Conflict` for a row that is there already.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rounds = GroupCommit[Reserving | Settling](self._write, "books")

    def reserve(self, entry: Entry) -> Refused | None:
        """Write a row, and hold what it may use in all budgets; or the one that does not allow it: nothing is kept."""
        deed = Reserving(entry)
        self._rounds.do(deed)
        return deed.refused

    def settle(self, bill: Bill) -> bool:
        """Write what a row has come to, in all budgets too; false, and nothing written, if that was done before."""
        deed = Settling(bill)
        self._rounds.do(deed)
        return deed.settled

    def settle_unseen(self, bill: Bill) -> None:
        """The same without waiting for it, after all that was asked for before."""
        self._rounds.put(Settling(bill))

    def _write(self, deeds: Sequence[Reserving | Settling]) -> None:
        try:
            self._write_together(deeds)
        except Exception as error:  # noqa: BLE001  # whoever waits for it gets it
            if len(deeds) > 1 and not isinstance(error, Unavailable):
                self._write_singly(deeds)
                return
            for deed in deeds:
                deed.error = error

    def _write_singly(self, deeds: Sequence[Reserving | Settling]) -> None:
        """What is wrong with one must not be to the others' harm."""
        for deed in deeds:
            self._write([deed])

    def _write_together(self, deeds: Sequence[Reserving | Settling]) -> None:
        for left in reversed(range(_TRIES)):
            try:
                outcome = self._database.in_one_go(partial(write_round, deeds))
            except AppError as error:
                if not left or not database_errors.is_deadlock(error.__cause__):
                    raise
            else:
                outcome.tell()
                return
