"""Words of the ledger: the books of what provider calls used and cost."""

from dataclasses import dataclass
from enum import StrEnum


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
