"""The first start: whoever holds the one-time token makes the first administrator, once for ever."""

import base64
import hashlib
import hmac
from functools import cached_property

import structlog

from domain.addresses import network_of
from domain.clock import now
from domain.errors import Conflict, PermissionDenied
from domain.principal import Role
from models import UserEntity
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.api_key_service import MadeKey, make_key
from services.new_users import NewUsers
from services.passwords import Passwords
from services.sign_ins import SignedIn, SignIns

log = structlog.get_logger()

_TOKEN_CHARACTERS = 32  # of base 32: 160 bits
_FIRST_KEY = "First key"


class SetupService:
    """Makes the first administrator. The transaction that stores the user also closes the setup."""

    def __init__(self, unit_of_work: OpenUnitOfWork, passwords: Passwords, sign_ins: SignIns, secret_key: str) -> None:
        self._unit_of_work = unit_of_work
        self._sign_ins = sign_ins
        self._secret_key = secret_key
        self._new_users = NewUsers(passwords)

    @cached_property
    def setup_token(self) -> str:
        """The one-time token. It follows from the secret key, so every node prints the same and none stores it."""
        code = hmac.digest(self._secret_key.encode(), b"setup", hashlib.sha256)
        return base64.b32encode(code).decode()[:_TOKEN_CHARACTERS]

    def is_open(self) -> bool:
        """Whether nobody has completed the setup yet."""
        with self._unit_of_work(writes=False) as uow:
            return not uow.users.is_installed()

    def complete(
        self, token: str, username: str, password: str, email: str | None, address: str
    ) -> tuple[SignedIn, MadeKey]:
        """Make the first administrator, sign in, and make a first API key.

        Raises :class:`Conflict` once it is done, :class:`PermissionDenied` for a wrong token.
        """
        if not self.is_open():
            raise Conflict("The setup has been completed.", "setup_closed")
        if not hmac.compare_digest(token.strip().upper().encode(), self.setup_token.encode()):
            log.warning("setup_refused", address=address)
            raise PermissionDenied("This is not the setup token of this installation.", "invalid_setup_token")
        user = self._new_users.make(username, password, email, role=Role.ADMIN)
        made = make_key(user.id, {"name": _FIRST_KEY}, by=user.id)
        with self._unit_of_work() as uow:
            self._close_with(uow, user)
            signed_in = self._sign_ins.open(uow, user, network_of(address))
            uow.api_keys.add(made.record)
            uow.commit()
        log.info("setup_completed", user_id=user.id, key_id=made.record.id, address=address)
        return signed_in, made

    def ensure_admin(self, username: str, password: str) -> None:
        """Complete the setup with this administrator, unless it is done: later changes of the user stay.

        Raises :class:`InvalidInput` for a name or password that cannot be used.
        """
        if not self.is_open():
            return
        user = self._new_users.make(username, password, None, role=Role.ADMIN)
        try:
            with self._unit_of_work() as uow:
                self._close_with(uow, user)
                uow.commit()
        except Conflict:
            if self.is_open():
                raise
            return  # another node was faster
        log.info("setup_completed", user_id=user.id)

    def require_single_user(self) -> None:
        """Raises :class:`Conflict` if this database already has several users."""
        with self._unit_of_work(writes=False) as uow:
            count = uow.users.count()
        if count > 1:
            raise Conflict(f"REGISTRATION=single serves one user, but there are {count}: delete the others first.")

    def _close_with(self, uow: UnitOfWork, user: UserEntity) -> None:
        uow.users.close_setup(now())  # first: of two racing calls, one waits here and then fails
        uow.users.add(user)
