"""Who calls with an API key: asked on every request, so it is remembered for some seconds."""

import hmac
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from domain.addresses import Network, is_in, network_of, parse_network
from domain.api_keys import KeyGrant, KeyLimits, Scope
from domain.clock import now
from domain.errors import LimitExceeded, NotAuthenticated, PermissionDenied, Unavailable
from domain.key_format import is_well_formed
from domain.principal import Principal, Role
from models import ApiKeyEntity, UserEntity
from repositories.rate_counter import RateCounter
from repositories.signals import Signals
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.sign_ins import digest

_V = TypeVar("_V")

KEY = "key"  # the kind in the ids of keys

_LIVES_S = 4.0  # how long an answer of the database counts: what is changed elsewhere holds everywhere within 5 s
_FRESH_S = 2.0  # after which one of the callers asks again, while the others go on
_SHARED_S = 0.5  # how long it counts for what is open already: one question for all that a key has open
_MOST = 10_000  # keys that are remembered
_MOST_UNKNOWN = 1_000
_WINDOW_S = 60
_UNKNOWN_PER_NETWORK = 60  # different unknown keys that one network may ask the database for in a window


@dataclass(slots=True)
class _Known:
    """What the database said of a key at ``read_at`` (monotonic)."""

    principal: Principal
    refusal: str | None
    expires_at: datetime | None
    networks: tuple[Network, ...] | None
    read_at: float

    def admit(self) -> Principal:
        """The caller. Raises :class:`NotAuthenticated` for a key that does not count any more."""
        if self.refusal is not None:
            raise NotAuthenticated(_REFUSALS[self.refusal], self.refusal)
        if self.expires_at is not None and self.expires_at <= now():
            raise NotAuthenticated("The API key has expired.", "key_expired")
        return self.principal


class _Question:
    """What one of the callers asks the database, while the others wait for its answer."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.failure: Unavailable | None = None


_REFUSALS = {
    "key_revoked": "The API key has been revoked.",
    "key_disabled": "The API key is disabled.",
    "user_disabled": "The user to whom the API key belongs is disabled.",
}


class KeyChecker:
    """Tells principals by their keys. What changes here holds here at once, and elsewhere where the signal is heard."""

    def __init__(self, unit_of_work: OpenUnitOfWork, signals: Signals, counter: RateCounter) -> None:
        self._unit_of_work = unit_of_work
        self._signals = signals
        self._counter = counter
        self._known: dict[str, _Known] = {}  # by hash
        self._hashes: dict[str, str] = {}  # id of a key -> its hash
        self._unknown: dict[str, float] = {}  # hash -> until when (monotonic)
        self._asked: dict[str, _Question] = {}  # by hash
        self._changes = 0
        self._used: dict[str, datetime] = {}
        self._lock = threading.Lock()
        signals.listen("key", self._drop)

    def authenticate(self, key: str, address: str) -> Principal:
        """The principal behind a key that was sent from ``address``.

        Raises :class:`NotAuthenticated`, :class:`PermissionDenied` for an address that the key does not allow, and
        :class:`LimitExceeded` where a network tries one unknown key after the other.
        """
        known = self._find(key, address)
        principal = known.admit()
        if known.networks is not None and not is_in(address, known.networks):
            raise PermissionDenied("The API key may not be used from this address.", "key_address_not_allowed")
        self._used[principal.credential_id] = now()
        return principal

    def recheck(self, principal: Principal) -> None:
        """For what lasts long: raises :class:`NotAuthenticated` once the key does not count, or is for less."""
        key_hash = self._hashes.get(principal.credential_id)
        if key_hash is not None:
            found = self._now(key_hash, None, _SHARED_S).admit()
        else:
            with self._unit_of_work(writes=False) as uow:
                found = self.principal_in(uow, principal.credential_id, principal.user_id)
        if found.key is None or principal.key is None or not principal.key.scopes <= found.key.scopes:
            raise NotAuthenticated("The API key is not for this any more.", "key_changed")

    def principal_in(self, uow: UnitOfWork, key_id: str, user_id: str) -> Principal:
        """The principal with that key as it is now. Raises :class:`NotAuthenticated`."""
        found = uow.api_keys.by_id(key_id, user_id)
        if found is None:
            raise _unknown()
        return _known(*found, 0).admit()

    def forget(self, name: str) -> None:
        """The key of that id, or those of that user, have changed: to be called after the commit."""
        self._drop(name)
        self._signals.send("key", name)

    def note_uses(self) -> None:
        """Write when keys were used last: called every minute."""
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return
        try:
            with self._unit_of_work() as uow:
                uow.api_keys.note_uses(used)
                uow.commit()
        except Unavailable:
            with self._lock:
                self._used = used | self._used
            raise

    def _find(self, key: str, address: str) -> _Known:
        key_hash = digest(key)
        if key_hash not in self._known:
            if not is_well_formed(key):
                raise _unknown()
            self._refuse_guesses(key_hash, address, time.monotonic())
        return self._now(key_hash, address, _LIVES_S)

    def _now(self, key_hash: str, address: str | None, lives_s: float) -> _Known:
        """What the database says of a key, or has said within ``lives_s``."""
        while True:
            known, moment = self._known.get(key_hash), time.monotonic()
            if known is not None:
                age = moment - known.read_at
                if age < min(_FRESH_S, lives_s) or (age < lives_s and key_hash in self._asked):
                    return known
            elif self._unknown.get(key_hash, 0) > moment:
                raise _unknown()
            mine = _Question()
            question = self._asked.setdefault(key_hash, mine)
            if question is mine and self._known.get(key_hash) is known:
                return self._ask(question, key_hash, address, known)
            if question is mine:  # answered between the two looks
                del self._asked[key_hash]
                mine.answered.set()
                continue
            # A thousand at once would wait for a connection each, all for the same row.
            question.answered.wait()
            if question.failure is not None:
                raise Unavailable(question.failure.message, question.failure.error_code)

    def _ask(self, question: _Question, key_hash: str, address: str | None, known: _Known | None) -> _Known:
        try:
            return self._read(key_hash, address)
        except Unavailable as error:
            if known is not None and time.monotonic() - known.read_at < _LIVES_S:
                return known
            question.failure = error
            raise
        finally:
            del self._asked[key_hash]
            question.answered.set()

    def _refuse_guesses(self, key_hash: str, address: str, moment: float) -> None:
        if self._unknown.get(key_hash, 0) > moment:
            raise _unknown()
        place = _place(address)
        if self._counter.add(place, _WINDOW_S, 0) >= _UNKNOWN_PER_NETWORK:
            wait = self._counter.seconds_left(place)
            raise LimitExceeded("Too many unknown keys. Wait a little.", "too_many_attempts", retry_after=wait)

    def _read(self, key_hash: str, address: str | None) -> _Known:
        changes, moment = self._changes, time.monotonic()
        with self._unit_of_work(writes=False) as uow:
            found = uow.api_keys.by_hash(key_hash)
        if found is None or not hmac.compare_digest(found[0].key_hash, key_hash):
            self._known.pop(key_hash, None)
            if address is not None:
                self._counter.add(_place(address), _WINDOW_S)
            _put(self._unknown, key_hash, moment + _LIVES_S, _MOST_UNKNOWN)
            raise _unknown()
        known = _known(*found, moment)
        if changes == self._changes:  # else it may have been read before the change
            _put(self._known, key_hash, known, _MOST)
            _put(self._hashes, known.principal.credential_id, key_hash, _MOST)
        return known

    def _drop(self, name: str) -> None:
        self._changes += 1
        for known in list(self._known.values()):
            if name in (known.principal.credential_id, known.principal.user_id):
                known.read_at = -_LIVES_S  # asked for again, but not as one never seen


def is_key_id(credential_id: str) -> bool:
    """Whether a credential is an API key, and no sign-in."""
    return credential_id.startswith(f"{KEY}_")


def grant_of(key: ApiKeyEntity) -> KeyGrant:
    """What a key allows."""
    return KeyGrant(
        id=key.id,
        scopes=frozenset(map(Scope, key.scopes)),
        models=None if key.models is None else frozenset(key.models),
        limits=KeyLimits(key.requests_per_minute, key.tokens_per_minute, key.parallel_requests),
        budgeted=key.budgeted,
        tools=frozenset(key.tools or ()),
    )


def networks_of(addresses: Iterable[str] | None) -> tuple[Network, ...] | None:
    """Networks in CIDR notation as values."""
    return None if addresses is None else tuple(map(parse_network, addresses))


def _known(key: ApiKeyEntity, owner: UserEntity, moment: float) -> _Known:
    refusals = {"key_revoked": key.revoked_at, "key_disabled": key.disabled, "user_disabled": not owner.is_active}
    return _Known(
        principal=Principal(owner.id, owner.username, Role(owner.role), key.id, grant_of(key)),
        refusal=next((code for code, holds in refusals.items() if holds), None),
        expires_at=key.expires_at,
        networks=networks_of(key.addresses),
        read_at=moment,
    )


def _put(table: dict[str, _V], key: str, value: _V, most: int) -> None:
    """Remember as the newest, and forget the oldest where that is too many."""
    table.pop(key, None)
    table[key] = value
    while len(table) > most:
        table.pop(next(iter(table), key), None)


def _place(address: str) -> str:
    return f"unknown-keys/{network_of(address)}"


def _unknown() -> NotAuthenticated:
    return NotAuthenticated("The API key is not valid.", "invalid_api_key")
