"""Who is calling."""

from dataclasses import dataclass
from enum import StrEnum

from domain.api_keys import KeyGrant, Scope
from domain.errors import PermissionDenied


class Role(StrEnum):
    """What a user may do: an ADMIN runs the installation, a USER has their own things only."""

    ADMIN = "ADMIN"
    USER = "USER"


@dataclass(frozen=True, slots=True)
class Principal:
    """A user together with the credential that they called with.

    ``credential_id`` names the sign-in (token family) or key, for logs and for signing it out. ``key`` is what the
    API key allows, None for a signed-in user, who may do all that their role may.
    """

    user_id: str
    username: str
    role: Role
    credential_id: str
    key: KeyGrant | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this caller administers the installation: an administrator does, with a key if it may manage."""
        return self.role is Role.ADMIN and (self.key is None or Scope.MANAGE in self.key.scopes)

    def may(self, scope: Scope | None) -> bool:
        """Whether the credential is for what needs ``scope``; None is for every credential."""
        return self.key is None or scope is None or scope in self.key.scopes

    def allows_model(self, *names: str) -> bool:
        """Whether the credential may be used for the model that has these names: a key may allow some models only."""
        return self.key is None or any(self.key.allows_model(name) for name in names)

    def allows_tool(self, name: str) -> bool:
        """Whether that tool of the server may run for this caller: a key names those that may."""
        return self.key is None or name in self.key.tools

    def require_admin(self) -> None:
        """Raises :class:`PermissionDenied` unless this caller administers the installation."""
        if not self.is_admin:
            raise PermissionDenied("Only administrators may do this.")
