"""Words of the ledger: the books of what provider calls used and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.budgets import Amounts


class EntryKind(StrEnum):
    """What a provider was called for. All but TITLE are what a client asked for, and count as one request of theirs."""

    CHAT = "chat"
    TITLE = "title"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    IMAGE = "image"
    MODERATION = "moderation"


class EntryState(StrEnum):
    """``RESERVED`` changes to one of the others, once: ``SETTLED`` with figures, ``RELEASED`` where none are known."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Booking:
    """For whom a provider is called, and for what: the names that a ledger row keeps.

    ``generation_id`` is that of a generation, or a new one (``gen_...``) for what is not stored. ``key_id`` is the API
    key that it was asked with, and ``key_budgeted`` whether that has a budget of its own.
    """

    user_id: str
    generation_id: str
    public_model: str
    key_id: str | None = None
    key_budgeted: bool = False
    session_id: str | None = None
    kind: EntryKind = EntryKind.CHAT


@dataclass(slots=True)
class Entry:
    """A row of the ledger as it is reserved, by the names of its columns: the request's first attempt.

    Prices are in micro-USD per million tokens, None for a model without; ``held_cost`` is in nano-USD. ``budgeted`` is
    known when it is written.
    """

    id: str
    user_id: str
    key_id: str | None
    session_id: str | None
    generation_id: str
    kind: str
    provider: str
    model: str
    public_model: str
    prompt_tokens: int | None
    input_price: int | None
    cached_price: int | None
    output_price: int | None
    reasoning_price: int | None
    held_tokens: int
    held_cost: int
    budgeted: bool
    key_budgeted: bool
    created_at: datetime

    @property
    def held(self) -> Amounts:
        """What it holds of budgets. A title is no request."""
        return Amounts(int(self.kind != EntryKind.TITLE), self.held_tokens, self.held_cost)


@dataclass(frozen=True, slots=True)
class Bill:
    """What an entry has come to by ``moment``: the columns that change, and those of a row for each further attempt.

    ``used`` is what all of ``rows`` come to in budgets.
    """

    entry: Entry
    rows: Sequence[Mapping[str, Any]]
    used: Amounts
    moment: datetime
