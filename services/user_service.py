"""Administration of users."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import structlog

from domain.clock import now
from domain.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from domain.paging import Page
from domain.principal import Principal, Role
from domain.user_names import clean_email, is_email, login_key
from models import UserEntity
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.account_service import Registration
from services.new_users import NewUsers
from services.passwords import Passwords
from services.provider_directory import STAMP

log = structlog.get_logger()


class UserChanges(TypedDict, total=False):
    """What an administrator may change; what is left out stays."""

    role: Role
    is_active: bool
    email: str | None
    password: str


class UserService:
    """What administrators do with users. Who is no longer admitted is signed out everywhere, at once."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        passwords: Passwords,
        registration: Registration,
        forget_keys_of: Callable[[str], None],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._forget_keys_of = forget_keys_of
        self._passwords = passwords
        self._registration = registration
        self._new_users = NewUsers(passwords)

    def page(self, principal: Principal, *, limit: int, cursor: str | None, text: str) -> Page[UserEntity]:
        """Users by age, oldest first; ``text`` is looked for in names and e-mail addresses."""
        principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            return uow.users.page(limit=limit, cursor=cursor, text=login_key(text))

    def create(
        self, principal: Principal, *, username: str, password: str, email: str | None, role: Role
    ) -> UserEntity:
        """A new user. Raises :class:`Conflict` for a taken name, :class:`PermissionDenied` in single mode."""
        principal.require_admin()
        if self._registration == "single":
            raise PermissionDenied("This installation serves one user only.", "single_user")
        user = self._new_users.make(username, password, email, role=role)
        with self._unit_of_work() as uow:
            uow.users.add(user)
            uow.commit()
        log.info("user_created", user_id=user.id, role=role.value, by=principal.user_id)
        return user

    def get(self, principal: Principal, user_id: str) -> UserEntity:
        """One user. Raises :class:`NotFound`."""
        principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            return _found(uow.users.get(user_id))

    def update(self, principal: Principal, user_id: str, changes: UserChanges) -> UserEntity:
        """Change a user. A new password, or being disabled, ends every sign-in of theirs.

        Raises :class:`NotFound`, :class:`InvalidInput`, and :class:`Conflict` for the last administrator.
        """
        columns = self._columns(self.get(principal, user_id), changes)
        with self._unit_of_work() as uow:
            if changes.get("role") == Role.USER or changes.get("is_active") is False:
                _require_other_admin(uow, user_id)
            user = _found(uow.users.lock(user_id))
            for name, value in columns.items():
                setattr(user, name, value)
            uow.users.flush()
            if "password" in changes or not user.is_active:
                uow.sign_ins.revoke_all(user_id, now())
            uow.after_commit(lambda: self._forget_keys_of(user_id))
            uow.commit()
        _log_changes(principal, user_id, changes)
        return user

    def delete(self, principal: Principal, user_id: str) -> None:
        """Delete a user with everything of theirs. Raises :class:`NotFound`, :class:`Conflict` for the last admin."""
        principal.require_admin()
        with self._unit_of_work() as uow:
            _require_other_admin(uow, user_id)
            had_models = bool(uow.models.of(user_id))
            if not uow.users.delete(user_id):
                raise _not_found()
            uow.after_commit(lambda: self._forget_keys_of(user_id))
            if had_models:
                uow.stamps.move(STAMP)
            uow.commit()
        log.info("user_deleted", user_id=user_id, by=principal.user_id)

    def _columns(self, user: UserEntity, changes: UserChanges) -> Mapping[str, Any]:
        """The new values of the columns; hashes a password, so not inside a transaction."""
        columns: dict[str, Any] = {"updated_at": now()}
        if "role" in changes:
            columns["role"] = changes["role"].value
        if "is_active" in changes:
            columns["is_active"] = changes["is_active"]
        if "email" in changes:
            columns["email"] = _new_email(user, changes["email"])
        if "password" in changes:
            self._passwords.check(changes["password"], user.username, user.email)
            columns["password_hash"] = self._passwords.hash(changes["password"])
        return columns


def _new_email(user: UserEntity, email: str | None) -> str | None:
    if is_email(user.login_name):
        raise InvalidInput("This user is named by the e-mail address; it stays.", "invalid_email", ("email",))
    return clean_email(email)


def _require_other_admin(uow: UnitOfWork, user_id: str) -> None:
    if uow.users.other_admins(user_id) == 0:
        raise Conflict("This is the last active administrator.", "last_admin")


def _found(user: UserEntity | None) -> UserEntity:
    if user is None:
        raise _not_found()
    return user


def _not_found() -> NotFound:
    return NotFound("There is no such user.", "user_not_found")


def _log_changes(principal: Principal, user_id: str, changes: UserChanges) -> None:
    log.info("user_changed", user_id=user_id, by=principal.user_id, fields=sorted(changes))
    if changes.get("is_active") is False:
        log.warning("user_disabled", user_id=user_id, by=principal.user_id)
    if "password" in changes:
        log.warning("password_reset", user_id=user_id, by=principal.user_id)
