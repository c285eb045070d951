"""What a key may hand on: never more than it is itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from domain.addresses import Network, are_within
from domain.api_keys import KeyGrant, KeyLimits
from domain.errors import PermissionDenied
from models import ApiKeyEntity
from services.key_checker import grant_of, networks_of


@dataclass(frozen=True, slots=True)
class KeyCaps:
    """The most that a key which manages keys can give to another one."""

    grant: KeyGrant
    networks: tuple[Network, ...] | None
    expires_at: datetime | None

    @classmethod
    def of(cls, record: ApiKeyEntity) -> Self:
        """Those of a key as it is now."""
        return cls(grant_of(record), networks_of(record.addresses), record.expires_at)

    def require_within(self, record: ApiKeyEntity) -> None:
        """Raises :class:`PermissionDenied` where the key of that record could do more than this one.

        A key with limits of its own cannot make any: two keys may ask for twice as much as one.
        """
        other = KeyCaps.of(record)
        more = [name for name, is_more in self._compared(other).items() if is_more]
        if more:
            reason = f"An API key makes no key that may do more than itself: {', '.join(more)}."
            raise PermissionDenied(reason, "exceeds_own_key")

    def _compared(self, other: "KeyCaps") -> dict[str, bool]:
        mine, theirs = self.grant, other.grant
        wider_models = mine.models is not None and (theirs.models is None or not theirs.models <= mine.models)
        nets = self.networks
        wider_nets = nets is not None and (other.networks is None or not are_within(other.networks, nets))
        longer = self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at)
        return {
            "scopes": not theirs.scopes <= mine.scopes,
            "models": wider_models,
            "addresses": wider_nets,
            "expires_at": longer,
            "tools": not theirs.tools <= mine.tools,
            "limits": mine.limits != KeyLimits() or mine.budgeted,
        }
