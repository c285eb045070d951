"""Sign-in: credentials in, a principal out."""

from domain.errors import NotAuthenticated
from domain.principal import Principal
from repositories.unit_of_work import OpenUnitOfWork


class AuthService:
    """Signing in, staying signed in, signing out."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    def authenticate(self, *, sign_in_id: str, user_id: str) -> Principal:
        """The principal behind an access token whose signature holds. Raises :class:`NotAuthenticated`."""
        raise NotAuthenticated("The access token is not valid.", "invalid_token")
