"""The books: what every request to a provider is reserved at before it is made, and comes to afterwards.

A row is reserved in the transaction that stores the turn, and settled in the one that ends it, by a guarded update:
whoever comes second changes nothing. How it all works is told in docs/billing.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from domain.budgets import Amounts
from domain.chat import ChatRequest, ModelInfo
from domain.clock import now
from domain.generation import EndReason
from domain.identifiers import new_id
from domain.ledger import Bill, Booking, Entry, EntryKind, EntryState
from domain.money import Price, PriceList
from domain.observer import NOBODY, Observer, Settlement
from domain.usage import Usage, UsageSource
from models import GenerationEntity
from repositories.budget_repository import BudgetRepository
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.answer import Answer
from services.bookkeeper import Bookkeeper
from services.budget_service import refusal
from services.charges import Charge, Written, charge_for, charges_of
from services.price_book import PriceBook
from services.prompt_builder import prompt_tokens
from services.tokenizer import Tokenizer
from services.upstream_handle import UpstreamHandle

log = structlog.get_logger()

_SWEEP = 50  # rows at a time
_PRICES = ("input_price", "output_price", "cached_price", "reasoning_price")


@dataclass(frozen=True, slots=True)
class Hold:
    """A row that is, or is to be, reserved, with the prices that hold for it until it is settled."""

    entry: Entry
    prices: PriceList


class Ledger:
    """Reserves and settles."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        tokenizer: Tokenizer,
        prices: PriceBook,
        bookkeeper: Bookkeeper,
        observer: Observer = NOBODY,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._tokenizer = tokenizer
        self._prices = prices
        self._bookkeeper = bookkeeper
        self._observer = observer

    def prepare(self, booking: Booking, provider: str, model: ModelInfo, request: ChatRequest) -> Hold:
        """The row for a request to ``model`` of ``provider``, with the most that it may use and cost.

        It counts, and may look prices up: not to be called inside a transaction.
        """
        prompt = prompt_tokens(request, self._tokenizer.count)
        longest = min(request.max_tokens or model.max_output, model.max_output) * request.choices
        return self.prepare_counted(booking, provider, model.name, prompt, longest)

    def prepare_title(self, turn: Hold, provider: str, model: ModelInfo, request: ChatRequest) -> Hold:
        """The row for the request that names the session of a turn; likewise."""
        return self.prepare(_booking_of_title(turn.entry), provider, model, request)

    def prepare_counted(self, booking: Booking, provider: str, model: str, prompt: int, longest: int = 0) -> Hold:
        """The row for a request of ``prompt`` tokens, to be answered in ``longest`` at most; likewise.

        For what is no chat: embeddings, pictures, moderation.
        """
        prices = self._prices.current()
        price = prices.get((provider, model))
        entry = Entry(
            id=new_id("led"),
            user_id=booking.user_id,
            key_id=booking.key_id,
            session_id=booking.session_id,
            generation_id=booking.generation_id,
            kind=booking.kind,
            provider=provider,
            model=model,
            public_model=booking.public_model,
            prompt_tokens=prompt,
            **_price_columns(price),
            held_tokens=prompt + longest,
            held_cost=price.most(prompt, longest) if price else 0,
            budgeted=False,
            key_budgeted=booking.key_budgeted,
            created_at=now(),
        )
        return Hold(entry, prices)

    def reserve(self, uow: UnitOfWork, hold: Hold) -> None:
        """Write that the request is about to be made: attempt 1; the others get their rows when all is settled.

        Raises BudgetExceeded where a budget of the user's, or of the key's, does not allow for the most that it may
        use. To be called late in a transaction: from here on the user's other turns wait for its end.
        """
        entry = hold.entry
        entry.budgeted = uow.budgets.exists(entry.user_id)
        uow.ledger.add(entry)
        for budgets, of in _budgets_of(uow, entry):
            if not budgets.hold(of, entry.held, entry.created_at):
                standings = budgets.standings(of, entry.created_at)
                raise refusal(standings, entry.held, entry.created_at, of_key=budgets is uow.key_budgets)

    def charges(self, upstream: UpstreamHandle, answer: Written) -> list[Charge]:
        """What the attempts of a turn have used. It counts: not to be called in a transaction."""
        return charges_of(upstream, answer, self._tokenizer.count)

    def charge(self, provider: str, request: ChatRequest, answer: Answer, error_code: str | None) -> Charge:
        """What one request that was made by itself has used; likewise."""
        return charge_for(provider, request, answer, error_code, self._tokenizer.count)

    def settle(
        self,
        uow: UnitOfWork,
        hold: Hold,
        charges: Sequence[Charge],
        end_reason: EndReason,
        error_code: str | None = None,
    ) -> bool:
        """Write what it came to, one row for each attempt; false, and nothing written, if that was done before."""
        bill = self.bill(hold, charges, end_reason, error_code)
        if not uow.ledger.settle(bill):
            return False
        for budgets, of in _budgets_of(uow, bill.entry):
            budgets.settle(of, bill.entry.held, bill.used, bill.moment)
        self._bookkeeper.note(uow, bill.entry)
        uow.after_commit(lambda: self.tell(bill))
        return True

    def settle_late(
        self, hold: Hold, charges: Sequence[Charge], end_reason: EndReason, error_code: str | None = None
    ) -> bool:
        """Settle in a transaction of its own what the sums may have passed; false, and nothing done, for all else."""
        if not self._bookkeeper.may_have_passed(hold.entry):
            return False
        with self._unit_of_work() as uow:
            if self.settle(uow, hold, charges, end_reason, error_code):
                uow.commit()
        return True

    def bill(self, hold: Hold, charges: Sequence[Charge], end_reason: EndReason, error_code: str | None = None) -> Bill:
        """What it came to, now; without charges it was never sent."""
        moment, entry = now(), hold.entry
        charges = charges or [Charge(entry.provider, entry.model, None, error_code=error_code)]
        rows = [_outcome_columns(charge, hold.prices, end_reason, moment) for charge in charges]
        return Bill(entry, rows, _used(entry, rows), moment)

    def tell(self, bill: Bill) -> None:
        """Tell who measures of a bill that has been written."""
        kind = EntryKind(bill.entry.kind)
        for row in bill.rows:
            told = Settlement(kind, row["state"], row["provider"], row["model"], _usage_of(row), row["cost"])
            self._observer.settled(told)

    def settle_abandoned(self, uow: UnitOfWork, generation: GenerationEntity, text: str) -> bool:
        """Settle for a worker that died: all that is known is the text that it has saved."""
        entry = uow.ledger.reserved(generation.id, EntryKind.CHAT)
        if entry is None:
            return False
        usage = None
        if text:
            count = self._tokenizer.count(text)
            usage = Usage(entry.prompt_tokens or 0, count, source=UsageSource.PARTIAL)
        charge = Charge(entry.provider, entry.model, usage)
        return self.settle(uow, Hold(entry, _prices_of(entry)), [charge], EndReason.NODE_LOST)

    def sweep(self, older_than: timedelta) -> int:
        """Release what nobody will settle any more (of titles, or of deleted sessions, whose worker died).

        What is younger may still be settled by its worker. Returns how many rows it were.
        """
        with self._unit_of_work(writes=False) as uow:
            left = uow.ledger.left_over(now() - older_than, limit=_SWEEP)
        return sum(self._release(entry) for entry in left)

    def _release(self, entry: Entry) -> bool:
        with self._unit_of_work() as uow:
            released = self.settle(uow, Hold(entry, {}), [], EndReason.NODE_LOST)
            if released:
                uow.commit()
                log.warning("ledger_entry_released", entry_id=entry.id, generation_id=entry.generation_id)
        return released


def _outcome_columns(charge: Charge, prices: PriceList, end_reason: EndReason, moment: datetime) -> dict[str, Any]:
    usage, price = charge.usage, prices.get((charge.provider, charge.model))
    return {
        "provider": charge.provider,
        "model": charge.model,
        "state": EntryState.SETTLED if usage else EntryState.RELEASED,
        "source": usage.source if usage else None,
        "end_reason": end_reason if charge.answers else _reason_of_other(charge),
        "error_code": charge.error_code,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        **_price_columns(price),
        "cost": price.cost(usage) if price and usage else 0,
        "settled_at": moment,
    }


def _reason_of_other(charge: Charge) -> EndReason:
    """Why a request ended that is not the one that answers."""
    return EndReason.TOOL_CALLS if charge.called_tools else EndReason.UPSTREAM_ERROR


def _budgets_of(uow: UnitOfWork, entry: Entry) -> Iterator[tuple[BudgetRepository[Any], str]]:
    """The budgets that hold for a row: in this order always, so that no two transactions wait for each other."""
    if entry.budgeted:
        yield uow.budgets, entry.user_id
    if entry.key_budgeted and entry.key_id is not None:
        yield uow.key_budgets, entry.key_id


def _usage_of(row: Mapping[str, Any]) -> Usage | None:
    if row["state"] is not EntryState.SETTLED:
        return None
    return Usage(
        row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"], row["reasoning_tokens"], row["source"]
    )


def _used(entry: Entry, rows: Sequence[dict[str, Any]]) -> Amounts:
    """What the rows of all attempts come to. A turn that used nothing does not count as one."""
    settled = [row for row in rows if row["state"] is EntryState.SETTLED]
    tokens = sum(row["prompt_tokens"] + row["completion_tokens"] for row in settled)
    return Amounts(entry.held.requests if settled else 0, tokens, sum(row["cost"] for row in settled))


def _booking_of_title(turn: Entry) -> Booking:
    return Booking(
        user_id=turn.user_id,
        generation_id=turn.generation_id,
        public_model=turn.public_model,
        key_id=turn.key_id,
        key_budgeted=turn.key_budgeted,
        session_id=turn.session_id,
        kind=EntryKind.TITLE,
    )


def _price_columns(price: Price | None) -> dict[str, int | None]:
    if price is None:
        return dict.fromkeys(_PRICES)
    return dict(zip(_PRICES, (price.input, price.output, price.cached, price.reasoning), strict=True))


def _prices_of(entry: Entry) -> PriceList:
    """The prices in a row."""
    if entry.input_price is None:
        return {}
    return {(entry.provider, entry.model): Price(*(getattr(entry, name) for name in _PRICES))}
