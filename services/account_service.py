"""One's own account: getting one, looking at it, changing its password."""

from typing import Literal

import structlog

from domain.addresses import network_of
from domain.clock import now
from domain.errors import Conflict, NotAuthenticated, PermissionDenied
from domain.principal import Principal, Role
from models import UserEntity
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.login_guard import LoginGuard
from services.new_users import NewUsers
from services.passwords import Passwords
from services.sign_ins import SignedIn, SignIns

log = structlog.get_logger()

Registration = Literal["open", "closed", "single"]


class AccountService:
    """What a person does with their own account."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        passwords: Passwords,
        guard: LoginGuard,
        sign_ins: SignIns,
        registration: Registration,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._passwords = passwords
        self._guard = guard
        self._sign_ins = sign_ins
        self._registration = registration
        self._new_users = NewUsers(passwords)

    def register(self, username: str, password: str, email: str | None, address: str) -> SignedIn:
        """Make a user and sign in.

        Raises :class:`PermissionDenied` unless registration is open, :class:`Conflict` before the setup or for a
        taken name, :class:`LimitExceeded` for who asks for taken names all the time.
        """
        self._require_open_registration()
        network = network_of(address)
        attempt = self._guard.admit("registration", network, lambda: False)
        user = self._new_users.make(username, password, email, role=Role.USER)
        try:
            with self._unit_of_work() as uow:
                uow.users.add(user)
                signed_in = self._sign_ins.open(uow, user, network)
                uow.commit()
        except Conflict:  # tells that somebody has this name
            self._guard.failed(attempt)
            raise
        log.info("user_registered", user_id=user.id, address=address)
        return signed_in

    def me(self, principal: Principal) -> UserEntity:
        """The caller."""
        with self._unit_of_work(writes=False) as uow:
            return _present(uow, principal)

    def change_password(self, principal: Principal, current: str, new: str, address: str) -> None:
        """Change it, and end every sign-in but the caller's.

        Raises :class:`PermissionDenied` if ``current`` is wrong, :class:`InvalidInput` if ``new`` is weak.
        """
        user = self.me(principal)
        self._passwords.check(new, user.username, user.email)
        with self._passwords.verifying() as fits:
            attempt = self._guard.admit(f"password of {user.id}", network_of(address), lambda: True)
            if not fits(user.password_hash, current):
                self._guard.failed(attempt)
                log.warning("password_change_failed", user_id=user.id, address=address)
                raise PermissionDenied("The current password is wrong.", "wrong_password")
        fresh = self._passwords.hash(new)
        with self._unit_of_work() as uow:
            locked = uow.users.lock(user.id)
            if locked is None or locked.password_hash != user.password_hash:
                raise Conflict("The password was changed at the same moment.", "password_changed")
            locked.password_hash, locked.updated_at = fresh, now()
            uow.users.flush()
            uow.sign_ins.revoke_all(user.id, now(), keep=principal.credential_id)
            uow.commit()
        log.info("password_changed", user_id=user.id, address=address)

    def _require_open_registration(self) -> None:
        if self._registration == "single":
            raise PermissionDenied("This installation serves one user only.", "single_user")
        if self._registration == "closed":
            raise PermissionDenied("Only administrators make accounts here.", "registration_closed")
        with self._unit_of_work(writes=False) as uow:
            if not uow.users.is_installed():
                raise Conflict("This installation must be set up first.", "setup_required")


def _present(uow: UnitOfWork, principal: Principal) -> UserEntity:
    user = uow.users.get(principal.user_id)
    if user is None:  # deleted since the request began
        raise NotAuthenticated("The access token is not valid any more.", "invalid_token")
    return user
