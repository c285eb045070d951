"""Words of the ledger: the books of what provider calls used and cost."""

from enum import StrEnum


class EntryKind(StrEnum):
    """What a provider was called for."""

    CHAT = "chat"
    TITLE = "title"


class EntryState(StrEnum):
    """``RESERVED`` changes to one of the others, once: ``SETTLED`` with figures, ``RELEASED`` where none are known."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"
