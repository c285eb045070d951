"""All that has to do with what turns use and cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from adapters.base_adapter import Providers
from domain.money import PriceList
from domain.observer import Observer
from repositories.unit_of_work import OpenUnitOfWork
from services.bookkeeper import Bookkeeper
from services.budget_service import BudgetService
from services.ledger import Ledger
from services.price_book import PriceBook
from services.price_service import PriceService
from services.tokenizer import Tokenizer
from services.usage_service import UsageService


@dataclass(frozen=True, slots=True)
class Books:
    """One of each."""

    ledger: Ledger
    bookkeeper: Bookkeeper
    prices: PriceService
    budgets: BudgetService
    usage: UsageService
    book: PriceBook

    @classmethod
    def open(
        cls,
        unit_of_work: OpenUnitOfWork,
        tokenizer: Tokenizer,
        providers: Providers,
        prices: PriceList,
        observer: Observer,
        forget_key: Callable[[str], None],
    ) -> Self:
        """The books over one database; ``prices`` are the declared ones. ``forget_key``: see :class:`BudgetService`."""
        book, bookkeeper = PriceBook(unit_of_work, prices), Bookkeeper(unit_of_work)
        return cls(
            Ledger(unit_of_work, tokenizer, book, bookkeeper, observer),
            bookkeeper,
            PriceService(unit_of_work, book, providers),
            BudgetService(unit_of_work, forget_key),
            UsageService(unit_of_work),
            book,
        )
