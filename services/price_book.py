"""The prices in force, at hand without a query for each turn."""

import time
from collections.abc import Callable
from contextlib import suppress

from domain.errors import Unavailable
from domain.money import Price, PriceList
from models import PriceEntity
from repositories.unit_of_work import OpenUnitOfWork

_FRESH_S = 5.0  # how long another node's change may go unseen


class PriceBook:
    """What models cost: the declared prices first, then those that administrators have set.

    ``declared`` are those of AI_PROVIDERS_FILE. A list that was given out never changes: whoever began with it ends
    with it.
    """

    def __init__(
        self, unit_of_work: OpenUnitOfWork, declared: PriceList, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._unit_of_work = unit_of_work
        self.declared = declared
        self._now = now
        self._prices: PriceList = declared
        self._fresh_until = 0.0

    def current(self) -> PriceList:
        """The prices now, at most some seconds old. Must not be called inside a transaction."""
        if self._now() >= self._fresh_until:
            self._fresh_until = self._now() + _FRESH_S  # first, so that the others do not all ask
            with suppress(Unavailable):  # the old ones hold until the database is back
                self._prices = self._read()
        return self._prices

    def forget(self) -> None:
        """They were changed here: look again at once."""
        self._fresh_until = 0.0

    def _read(self) -> PriceList:
        with self._unit_of_work(writes=False) as uow:
            set_by_hand = {(row.provider, row.model): price_from(row) for row in uow.prices.all()}
        return {**set_by_hand, **self.declared}


def price_from(row: PriceEntity) -> Price:
    """The price in a row."""
    return Price(row.input, row.output, row.cached, row.reasoning, row.image)
