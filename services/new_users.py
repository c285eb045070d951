"""Making users: the same rules for setup, registration and administrators."""

from domain.clock import now
from domain.identifiers import new_id
from domain.principal import Role
from domain.user_names import clean_username, email_of, login_key
from models import UserEntity
from services.passwords import Passwords


class NewUsers:
    """Makes users out of what people type."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    def make(self, username: str, password: str, email: str | None, *, role: Role) -> UserEntity:
        """A user to store. Hashes the password, so not inside a transaction. Raises :class:`InvalidInput`."""
        username = clean_username(username)
        email = email_of(username, email)
        self._passwords.check(password, username, email)
        at = now()
        return UserEntity(
            id=new_id("usr"),
            username=username,
            login_name=login_key(username),
            email=email,
            password_hash=self._passwords.hash(password),
            role=role.value,
            is_active=True,
            created_at=at,
            updated_at=at,
        )
