"""What a round does to budgets: their rows are locked and read once, judged here, and changed once.

Who comes one by one is judged by a guarded UPDATE (:mod:`repositories.budget_statements`); both wait for the same lock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.budgets import Amounts, Measure, Standing, Standings
from domain.ledger import Entry
from repositories.budget_statements import ALL, KEYS, USERS, BudgetStatements, locking, settling
from repositories.prepared import Executes

_MEASURES = len(Measure)
_UNREAD = (None,) * len(ALL) + (0,) * (len(ALL) + _MEASURES)


@dataclass(frozen=True, slots=True)
class Refused:
    """A budget that does not allow a request, as it stood when that was asked for: a user's, or a key's."""

    standings: Standings
    of_key: bool


class BudgetInRound:
    """One row: how it stands, and what the round changes of it."""

    __slots__ = ("_held", "_limits", "_used", "back", "counted", "of", "of_key")

    def __init__(self, row: Any, *, of_key: bool) -> None:
        self.of, self.of_key = row[0], of_key
        self._limits, self._used, self._held = row[1:10], list(row[10:19]), list(row[19:22])
        self.back = [0] * _MEASURES
        self.counted = [0] * _MEASURES

    def allows(self, most: Amounts) -> bool:
        """Whether all limits have room for it."""
        asked = _figures(most)
        return all(
            limit is None or self._used[place] + self._held[place % _MEASURES] + asked[place % _MEASURES] <= limit
            for place, limit in enumerate(self._limits)
        )

    def hold(self, most: Amounts) -> None:
        """Keep it aside."""
        for measure, amount in enumerate(_figures(most)):
            self._held[measure] += amount
            self.back[measure] -= amount

    def settle(self, held: Amounts, used: Amounts) -> None:
        """Give back what was held, and count what was used."""
        for measure, (back, counted) in enumerate(zip(_figures(held), _figures(used), strict=True)):
            self._held[measure] -= back
            self.back[measure] += back
            self.counted[measure] += counted
            for place in range(measure, len(ALL), _MEASURES):
                self._used[place] += counted

    def standings(self) -> Standings:
        """How every limit stands now."""
        return {
            place: Standing(self._limits[n], self._used[n], self._held[n % _MEASURES]) for n, place in enumerate(ALL)
        }


class BudgetsInRound:
    """Those that a round touches. Everybody locks them in one order: those of users, then of keys, by their ids."""

    def __init__(self, on: Executes, new: Sequence[Entry], old: Sequence[Entry], moment: datetime) -> None:
        self._on = on
        self._moment = moment
        users = {entry.user_id for entry in new} | {entry.user_id for entry in old if entry.budgeted}
        keys = {entry.key_id for entry in (*new, *old) if entry.key_budgeted and entry.key_id is not None}
        found = self._locked if new else self._unread
        self._users = found(USERS, users, of_key=False)
        self._keys = found(KEYS, keys, of_key=True)

    def _locked(self, statements: BudgetStatements, ids: set[str], *, of_key: bool) -> dict[str, BudgetInRound]:
        if not ids:
            return {}
        rows = statements.lock(len(ids)).on(self._on, locking(sorted(ids), self._moment)).fetchall()
        return {row[0]: BudgetInRound(row, of_key=of_key) for row in rows}

    def _unread(self, _statements: BudgetStatements, ids: set[str], *, of_key: bool) -> dict[str, BudgetInRound]:
        """Where there is nothing to judge."""
        return {of: BudgetInRound((of, *_UNREAD), of_key=of_key) for of in sorted(ids)}

    def hold(self, entry: Entry) -> Refused | None:
        """Hold for a new entry in all that count for it, or in none."""
        entry.budgeted = entry.user_id in self._users
        if entry.key_budgeted and entry.key_id not in self._keys:
            return Refused({}, of_key=True)
        budgets, most = list(self._of(entry)), entry.held
        for budget in budgets:
            if not budget.allows(most):
                return Refused(budget.standings(), budget.of_key)
        for budget in budgets:
            budget.hold(most)
        return None

    def settle(self, entry: Entry, used: Amounts) -> None:
        """Give back what an entry held, and count what it used."""
        for budget in self._of(entry):
            budget.settle(entry.held, used)

    def write(self) -> None:
        """Write what has changed, each row once."""
        for statements, budgets in ((USERS, self._users), (KEYS, self._keys)):
            changes = [
                settling(budget.of, Amounts(*budget.back), Amounts(*budget.counted), self._moment)
                for budget in budgets.values()
                if any(budget.back) or any(budget.counted)
            ]
            if changes:
                statements.settle.on(self._on, changes)

    def _of(self, entry: Entry) -> Iterator[BudgetInRound]:
        if entry.budgeted and entry.user_id in self._users:
            yield self._users[entry.user_id]
        if entry.key_budgeted and entry.key_id in self._keys:
            yield self._keys[entry.key_id]


def _figures(amounts: Amounts) -> tuple[int, int, int]:
    return amounts.requests, amounts.tokens, amounts.cost
