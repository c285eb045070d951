"""API keys: what a program may do in its owner's name."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may be used for.

    GATEWAY: everything under ``/v1``. CHAT: chats, sessions and generations of the native API. READ: looking at usage,
    models and settings. MANAGE: all else that the owner may do, administration too where the owner is an administrator.
    """

    GATEWAY = "gateway"
    CHAT = "chat"
    READ = "read"
    MANAGE = "manage"


USUAL_SCOPES = frozenset({Scope.GATEWAY, Scope.CHAT, Scope.READ})  # of a key for which nobody says


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Requests and tokens per minute, and requests at the same time; None does not limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_requests: int | None = None


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """What an API key allows. ``models`` are public names; None allows every model that the owner may use.

    ``budgeted``: the key has a budget of its own, beside its owner's. ``tools``: those of the server that may be
    offered to the model for it.
    """

    id: str
    scopes: frozenset[Scope]
    models: frozenset[str] | None = None
    limits: KeyLimits = KeyLimits()
    budgeted: bool = False
    tools: frozenset[str] = frozenset()

    def allows_model(self, name: str) -> bool:
        """Whether the key may use the model of that public name."""
        return self.models is None or name in self.models


@dataclass(frozen=True, slots=True)
class Allowance:
    """How one limit of a key stands; ``reset_s``: until all of it may be used again."""

    limit: int
    used: int
    reset_s: float

    @property
    def remaining(self) -> int:
        """What may still be used now."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """How a key's limits per minute stand; None for what is not limited."""

    requests: Allowance | None = None
    tokens: Allowance | None = None
