"""The statements on budgets that every request takes part in, made once."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, cast

import sqlalchemy as sa

from domain.budgets import Amounts, Measure, Window, first_days
from models import BudgetColumns, BudgetEntity, KeyBudgetEntity
from repositories.prepared import Prepared

ALL = [(window, measure) for window in Window for measure in Measure]


class BudgetStatements:
    """Those on one table of budgets, whose rows the column ``id_`` tells apart. For their parameters see below."""

    def __init__(self, table: type[BudgetColumns], id_: str) -> None:
        whole = cast("sa.Table", sa.inspect(table).local_table)
        self._columns = whole.c
        here = whole.c[id_] == sa.bindparam("of")
        self.exists = Prepared(sa.select(sa.literal_column("1")).select_from(whole).where(here))
        self.hold = Prepared(sa.update(whole).where(here, *self._guards()).values(dict(self._kept())))
        self.settle = Prepared(sa.update(whole).where(here).ordered_values(*self._settled()))
        self._id = whole.c[id_]
        self._locks: dict[int, Prepared] = {}

    def lock(self, count: int) -> Prepared:
        """Locks so many rows at most, in the order of their ids, and gives these, limits, used and held of each."""
        size = 1 << (count - 1).bit_length()  # few different statements
        if size not in self._locks:
            self._locks[size] = Prepared(self._lock(size))
        return self._locks[size]

    def _lock(self, size: int) -> sa.Select[Any]:
        limits = [self._columns[f"{window}_{measure}_limit"] for window, measure in ALL]
        used = [self._used_now(window, measure) for window, measure in ALL]
        held = [self._columns[f"{measure}_held"] for measure in Measure]
        places = [sa.bindparam(f"of_{number}", type_=self._id.type) for number in range(size)]
        query = sa.select(self._id, *limits, *used, *held).where(self._id.in_(places))
        return query.order_by(self._id).with_for_update()

    def _guards(self) -> Iterator[sa.ColumnElement[bool]]:
        for window, measure in ALL:
            limit, held = self._columns[f"{window}_{measure}_limit"], self._columns[f"{measure}_held"]
            yield sa.or_(limit.is_(None), self._used_now(window, measure) + held + _amount(measure) <= limit)

    def _kept(self) -> Iterator[tuple[Any, Any]]:
        for measure in Measure:
            held = self._columns[f"{measure}_held"]
            yield held, held + _amount(measure)

    def _settled(self) -> Iterator[tuple[Any, Any]]:
        # MySQL evaluates these one after the other, each with the new values of those before: the days come last.
        for measure in Measure:
            held = self._columns[f"{measure}_held"]
            yield held, held - _amount(f"{measure}_back")
        for window, measure in ALL:
            yield self._columns[f"{window}_{measure}_used"], self._used_now(window, measure) + _amount(measure)
        for window in (Window.DAY, Window.MONTH):
            start, first = self._columns[f"{window}_start"], _first_day(window)
            yield start, sa.case((start < first, first), else_=start)

    def _used_now(self, window: Window, measure: Measure) -> sa.ColumnElement[int]:
        """What counts as used: nothing yet, if the row still speaks of an earlier window."""
        used = self._columns[f"{window}_{measure}_used"]
        if window is Window.TOTAL:
            return used
        return sa.case((self._columns[f"{window}_start"] < _first_day(window), sa.literal_column("0")), else_=used)


def holding(of: str, most: Amounts, moment: datetime) -> dict[str, Any]:
    """The parameters of ``hold``."""
    day, month = first_days(moment)
    return {
        "of": of,
        "requests": most.requests,
        "tokens": most.tokens,
        "cost": most.cost,
        "day": day,
        "month": month,
    }


def settling(of: str, held: Amounts, used: Amounts, moment: datetime) -> dict[str, Any]:
    """The parameters of ``settle``: what is given back, and what was used."""
    back = {"requests_back": held.requests, "tokens_back": held.tokens, "cost_back": held.cost}
    return holding(of, used, moment) | back


def locking(ids: Sequence[str], moment: datetime) -> dict[str, Any]:
    """The parameters of ``lock(len(ids))``."""
    day, month = first_days(moment)
    size = 1 << (len(ids) - 1).bit_length()
    places = {f"of_{number}": ids[min(number, len(ids) - 1)] for number in range(size)}
    return {**places, "day": day, "month": month}


def _amount(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(str(name), type_=sa.BigInteger)


def _first_day(window: Window) -> sa.BindParameter[date]:
    return sa.bindparam(str(window), type_=sa.Date)


USERS = BudgetStatements(BudgetEntity, "user_id")
KEYS = BudgetStatements(KeyBudgetEntity, "key_id")
