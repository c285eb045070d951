"""Sign-in: credentials in, a principal out."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from domain.addresses import network_of
from domain.clock import now
from domain.errors import NotAuthenticated, NotFound, PermissionDenied
from domain.principal import Principal
from domain.user_names import login_key
from models import StreamTicketEntity, UserEntity
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.key_checker import KeyChecker, is_key_id
from services.login_guard import LoginGuard
from services.passwords import Passwords
from services.sign_ins import SignedIn, SignIns, digest, new_secret

log = structlog.get_logger()

TICKET_TTL_S = 60


class AuthService:
    """Signing in, staying signed in, signing out."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        passwords: Passwords,
        guard: LoginGuard,
        sign_ins: SignIns,
        keys: KeyChecker,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._keys = keys
        self._passwords = passwords
        self._guard = guard
        self._sign_ins = sign_ins

    def authenticate(self, *, sign_in_id: str, user_id: str) -> Principal:
        """The principal behind an access token whose signature holds. Raises :class:`NotAuthenticated`."""
        with self._unit_of_work(writes=False) as uow:
            principal = uow.sign_ins.principal(sign_in_id, user_id, now())
        if principal is None:
            raise NotAuthenticated("The access token is not valid any more.", "invalid_token")
        return principal

    def recheck(self, principal: Principal) -> None:
        """For what lasts long: raises :class:`NotAuthenticated` once the caller's credential has ended."""
        if principal.key is not None:
            self._keys.recheck(principal)
            return
        self.authenticate(sign_in_id=principal.credential_id, user_id=principal.user_id)

    def login(self, login: str, password: str, address: str) -> SignedIn:
        """Sign in by name or e-mail address.

        Raises :class:`NotAuthenticated`, the same whatever was wrong, or :class:`LimitExceeded`.
        """
        account, network = login_key(login), network_of(address)
        with self._unit_of_work(writes=False) as uow:
            user = uow.users.by_login(account)
        with self._passwords.verifying() as fits:
            attempt = self._guard.admit(account, network, self._knows(user, network))
            fitting = fits(user.password_hash if user else None, password)
            if user is None or not fitting or not user.is_active:
                self._guard.failed(attempt)
                log.warning("login_failed", user_id=user.id if user else None, address=address)
                raise _refused()
        return self._open(user, password, network)

    def refresh(self, *, sign_in_id: str, user_id: str, rotation: str) -> SignedIn:
        """New tokens for a refresh token, which is worth nothing afterwards. Raises :class:`NotAuthenticated`.

        An older token than the newest has been copied: the sign-in ends, for the thief and for the owner. But
        of two requests at the same moment the later one is no thief, and is only refused.
        """
        begun = now()
        old, fresh = digest(rotation), new_secret()
        with self._unit_of_work(writes=False) as uow:
            sign_in = uow.sign_ins.get(sign_in_id, user_id, begun)
        if sign_in is None:
            raise _invalid_refresh_token()
        if sign_in.refresh_hash != old:
            if begun > sign_in.rotated_at:
                self._end_copied(sign_in_id, user_id)
            raise _invalid_refresh_token()
        with self._unit_of_work() as uow:
            user = uow.users.get(user_id)
            if user is None or not uow.sign_ins.rotate(sign_in_id, old, digest(fresh), now()):
                raise _invalid_refresh_token()
            uow.commit()
        return SignedIn(user, sign_in_id, fresh, sign_in.expires_at)

    def logout(self, principal: Principal) -> None:
        """End the sign-in that the caller uses, and so every token of it. Raises PermissionDenied for an API key."""
        if principal.key is not None:
            raise PermissionDenied("An API key does not sign out; it can be revoked.", "not_signed_in")
        with self._unit_of_work() as uow:
            uow.sign_ins.revoke(principal.credential_id, principal.user_id, now())
            uow.commit()

    def issue_ticket(self, principal: Principal, session_id: str) -> str:
        """A pass to the events of one session: for one use, within :data:`TICKET_TTL_S`. Raises :class:`NotFound`."""
        ticket, at = new_secret(), now()
        entity = StreamTicketEntity(
            ticket_hash=digest(ticket),
            user_id=principal.user_id,
            sign_in_id=principal.credential_id,
            session_id=session_id,
            expires_at=at + timedelta(seconds=TICKET_TTL_S),
        )
        with self._unit_of_work() as uow:
            if uow.sessions.get(session_id, principal.user_id) is None:
                raise NotFound("There is no such session.", "session_not_found")
            uow.sign_ins.purge(at)
            uow.sign_ins.add_ticket(entity)
            uow.commit()
        return ticket

    def redeem_ticket(self, ticket: str, session_id: str) -> Principal:
        """Who was given the ticket, this once. Raises :class:`NotAuthenticated`."""
        at = now()
        with self._unit_of_work() as uow:
            taken = uow.sign_ins.take_ticket(digest(ticket), session_id, at)
            principal = self._holder(uow, taken, at) if taken else None
            uow.commit()
        if principal is None:
            raise NotAuthenticated("The ticket is not valid: it counts once, and for a minute.", "invalid_ticket")
        return principal

    def _holder(self, uow: UnitOfWork, ticket: StreamTicketEntity, at: datetime) -> Principal | None:
        """Who took the ticket, with the sign-in or the API key that they took it with."""
        if is_key_id(ticket.sign_in_id):
            return self._keys.principal_in(uow, ticket.sign_in_id, ticket.user_id)
        return uow.sign_ins.principal(ticket.sign_in_id, ticket.user_id, at)

    def _knows(self, user: UserEntity | None, network: str) -> Callable[[], bool]:
        def is_known() -> bool:
            if user is None:
                return False
            with self._unit_of_work(writes=False) as uow:
                return uow.sign_ins.is_known(user.id, network)

        return is_known

    def _open(self, user: UserEntity, password: str, network: str) -> SignedIn:
        outdated = self._passwords.is_outdated(user.password_hash)
        upgraded = self._passwords.hash(password) if outdated else user.password_hash
        with self._unit_of_work() as uow:
            current = uow.users.lock(user.id)
            # While the hash was computed, the password may have been changed or the user disabled.
            if current is None or not current.is_active or current.password_hash != user.password_hash:
                raise _refused()
            current.password_hash = upgraded
            uow.sign_ins.purge(now())
            signed_in = self._sign_ins.open(uow, current, network)
            uow.commit()
        return signed_in

    def _end_copied(self, sign_in_id: str, user_id: str) -> None:
        with self._unit_of_work() as uow:
            uow.sign_ins.revoke(sign_in_id, user_id, now())
            uow.commit()
        log.warning("refresh_reused", user_id=user_id, sign_in_id=sign_in_id)


def _refused() -> NotAuthenticated:
    return NotAuthenticated("The username or the password is wrong.", "invalid_credentials")


def _invalid_refresh_token() -> NotAuthenticated:
    return NotAuthenticated("The refresh token is not valid. Sign in again.", "invalid_token")
