"""One round of the books: what many requests reserve and settle, in one transaction and few statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.ledger import Bill, Entry
from repositories import ledger_statements
from repositories.budget_round import BudgetsInRound, Refused
from repositories.group_commit import Deed
from repositories.ledger_statements import further_rows, reserved_row
from repositories.prepared import Executes


class Reserving(Deed):
    """A row that is to be written."""

    __slots__ = ("entry", "refused")

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.refused: Refused | None = None


class Settling(Deed):
    """A row that is to be settled."""

    __slots__ = ("bill", "settled")

    def __init__(self, bill: Bill) -> None:
        super().__init__()
        self.bill = bill
        self.settled = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of the deeds of a round once it is permanent."""

    refused: Mapping[Reserving, Refused]
    settled: Sequence[Settling]

    def tell(self) -> None:
        """Leave it in them."""
        for reserving, refused in self.refused.items():
            reserving.refused = refused
        for settling in self.settled:
            settling.settled = True


class Uneven(Exception):  # a round that is to be written otherwise is no error
    """One row or more had been settled before."""


def write_round(deeds: Sequence[Reserving | Settling], on: Executes) -> Outcome:
    """Write it, in the open transaction of ``on``. What is done to budgets is what would be done one by one.

    Raises :class:`Uneven` where a row was settled before, unless it is alone here.
    """
    reserving = [deed for deed in deeds if isinstance(deed, Reserving)]
    settling = [deed for deed in deeds if isinstance(deed, Settling)]
    # First, as wherever rows are settled: whoever locks rows of the ledger and budgets locks these last.
    if not ledger_statements.settle(on, [deed.bill for deed in settling]):
        if len(deeds) > 1:
            raise Uneven
        return Outcome({}, [])
    new, old = [deed.entry for deed in reserving], [deed.bill.entry for deed in settling]
    moment = max([entry.created_at for entry in new] + [deed.bill.moment for deed in settling])
    budgets = BudgetsInRound(on, new, old, moment)
    refused: dict[Reserving, Refused] = {}
    for deed in deeds:
        if isinstance(deed, Settling):
            budgets.settle(deed.bill.entry, deed.bill.used)
        elif found := budgets.hold(deed.entry):
            refused[deed] = found
    rows = [reserved_row(deed.entry) for deed in reserving if deed not in refused]
    rows += [row for deed in settling for row in further_rows(deed.bill)]
    ledger_statements.insert(on, rows)
    budgets.write()
    return Outcome(refused, settling)
