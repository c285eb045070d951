"""Prices, for administrators: what models cost, and where each price comes from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import structlog

from adapters.base_adapter import Providers
from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.money import Price
from domain.principal import Principal
from models import PriceEntity
from repositories.unit_of_work import OpenUnitOfWork
from services.price_book import PriceBook, price_from

log = structlog.get_logger()

PriceSource = Literal["file", "admin", "none"]


@dataclass(frozen=True, slots=True)
class PriceView:
    """A model's price and where it comes from; what comes from the file cannot be changed here."""

    provider: str
    model: str
    price: Price | None
    source: PriceSource


class PriceService:
    """Shows and sets prices. What AI_PROVIDERS_FILE declares stands."""

    def __init__(self, unit_of_work: OpenUnitOfWork, book: PriceBook, providers: Providers) -> None:
        self._unit_of_work = unit_of_work
        self._book = book
        self._models = [
            (adapter.name, model.name) for adapter in providers.values() if adapter.enabled for model in adapter.models
        ]

    def all(self, principal: Principal) -> Sequence[PriceView]:
        """Every model that has a price or is configured, by provider and name."""
        principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            by_hand = {(row.provider, row.model): price_from(row) for row in uow.prices.all()}
        declared = self._book.declared
        return [
            PriceView(
                *target,
                declared.get(target) or by_hand.get(target),
                "file" if target in declared else "admin" if target in by_hand else "none",
            )
            for target in sorted({*self._models, *by_hand, *declared})
        ]

    def put(self, principal: Principal, provider: str, model: str, price: Price) -> PriceView:
        """Set a model's price, in place of the one that it has. Raises Conflict ``price_locked``."""
        self._check(principal, provider, model)
        row = PriceEntity(
            provider=provider, model=model, **asdict(price), updated_by=principal.user_id, updated_at=now()
        )
        with self._unit_of_work() as uow:
            uow.prices.put(row)
            uow.commit()
        self._book.forget()
        log.info("price_set", provider=provider, model=model, by=principal.user_id)
        return PriceView(provider, model, price, "admin")

    def delete(self, principal: Principal, provider: str, model: str) -> None:
        """Take a price away: what the model does costs 0 from then on. Raises NotFound, Conflict ``price_locked``."""
        self._check(principal, provider, model)
        with self._unit_of_work() as uow:
            if not uow.prices.delete(provider, model):
                raise NotFound("There is no such price.", "price_not_found")
            uow.commit()
        self._book.forget()
        log.info("price_deleted", provider=provider, model=model, by=principal.user_id)

    def _check(self, principal: Principal, provider: str, model: str) -> None:
        principal.require_admin()
        if (provider, model) in self._book.declared:
            raise Conflict("This price is set by AI_PROVIDERS_FILE; change it there.", "price_locked")
