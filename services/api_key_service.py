"""API keys: made, shown, changed and revoked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict

import structlog

from domain.addresses import parse_network
from domain.api_keys import USUAL_SCOPES, Scope
from domain.clock import now
from domain.errors import InvalidInput, NotFound
from domain.identifiers import new_id
from domain.key_format import new_key, prefix_of
from domain.paging import Page
from domain.principal import Principal
from models import ApiKeyEntity
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.key_caps import KeyCaps
from services.key_checker import KEY, KeyChecker
from services.sign_ins import digest

log = structlog.get_logger()

_LONGEST = timedelta(days=366 * 100)
_HARMLESS = {"name", "disabled"}


class KeyFields(TypedDict, total=False):
    """What is said of a key. What is left out stays, or is as usual; None does not limit."""

    name: str
    scopes: Sequence[Scope]
    expires_at: datetime | None
    models: Sequence[str] | None
    addresses: Sequence[str] | None
    tools: Sequence[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    parallel_requests: int | None
    disabled: bool


class MadeKey(NamedTuple):
    """A new key: its record, and the key itself, which nobody can tell again."""

    record: ApiKeyEntity
    key: str


class ApiKeyService:
    """One's own keys, and for administrators everybody's. Changes hold on all nodes within 5 s.

    ``checker`` tells who calls with a key.
    """

    def __init__(self, unit_of_work: OpenUnitOfWork, checker: KeyChecker) -> None:
        self._unit_of_work = unit_of_work
        self.checker = checker

    def page(
        self, principal: Principal, user_id: str | None, *, everybody: bool, limit: int, cursor: str | None
    ) -> Page[ApiKeyEntity]:
        """One's own keys, newest first; or another user's, or everybody's. Raises PermissionDenied."""
        owner = None if everybody else user_id or principal.user_id
        if owner != principal.user_id:
            principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            return uow.api_keys.page(owner, limit=limit, cursor=cursor)

    def get(self, principal: Principal, key_id: str) -> ApiKeyEntity:
        """One key. Raises NotFound."""
        with self._unit_of_work(writes=False) as uow:
            return _found(uow.api_keys.get(key_id, _owner(principal)))

    def create(self, principal: Principal, fields: KeyFields, user_id: str | None = None) -> MadeKey:
        """A new key, for another user too. Raises InvalidInput, NotFound for no such user, PermissionDenied."""
        owner = user_id or principal.user_id
        if owner != principal.user_id:
            principal.require_admin()
        made = make_key(owner, fields, by=principal.user_id)
        with self._unit_of_work() as uow:
            if uow.users.get(owner) is None:
                raise NotFound("There is no such user.", "user_not_found")
            if principal.key is not None:
                _caps_of(uow, principal).require_within(made.record)
            uow.api_keys.add(made.record)
            uow.commit()
        log.info("key_created", key_id=made.record.id, user_id=owner, by=principal.user_id)
        return made

    def update(self, principal: Principal, key_id: str, fields: KeyFields) -> ApiKeyEntity:
        """Change a key. Raises NotFound, InvalidInput, PermissionDenied."""
        columns = _columns(fields)
        with self._unit_of_work() as uow:
            caps = _caps_of(uow, principal) if principal.key is not None else None  # as they are before the change
            record = _found(uow.api_keys.lock(key_id, _owner(principal)))
            for name, value in columns.items():
                setattr(record, name, value)
            record.updated_at = now()
            if caps is not None and (set(columns) - _HARMLESS or columns.get("disabled") is False):
                caps.require_within(record)
            uow.after_commit(lambda: self.checker.forget(key_id))
            uow.commit()
        log.info("key_changed", key_id=key_id, by=principal.user_id, fields=sorted(columns))
        return record

    def revoke(self, principal: Principal, key_id: str) -> None:
        """End a key for ever. Raises NotFound."""
        with self._unit_of_work() as uow:
            record = _found(uow.api_keys.lock(key_id, _owner(principal)))
            record.revoked_at = record.updated_at = now()
            uow.after_commit(lambda: self.checker.forget(key_id))
            uow.commit()
        log.info("key_revoked", key_id=key_id, by=principal.user_id)


def make_key(user_id: str, fields: KeyFields, *, by: str) -> MadeKey:
    """A new key of that user; nothing is stored. Raises InvalidInput."""
    key, at = new_key(), now()
    said: dict[str, Any] = {"scopes": sorted(USUAL_SCOPES)} | _columns(fields)
    limits = (
        "models",
        "addresses",
        "tools",
        "expires_at",
        "requests_per_minute",
        "tokens_per_minute",
        "parallel_requests",
    )
    record = ApiKeyEntity(
        id=new_id(KEY),
        user_id=user_id,
        prefix=prefix_of(key),
        key_hash=digest(key),
        budgeted=False,
        revoked_at=None,
        last_used_at=None,
        created_by=by,
        created_at=at,
        updated_at=at,
        **dict.fromkeys(limits) | {"disabled": False} | said,
    )
    return MadeKey(record, key)


def _columns(fields: KeyFields) -> dict[str, Any]:
    """The new values of the columns. Raises InvalidInput for what the edge cannot see."""
    columns: dict[str, Any] = dict(fields)
    if fields.get("expires_at") is not None:
        columns["expires_at"] = _moment(columns["expires_at"])
    if fields.get("addresses") is not None:
        columns["addresses"] = _networks(columns["addresses"])
    if fields.get("models") is not None:
        columns["models"] = sorted(set(columns["models"]))
    if fields.get("tools") is not None:
        columns["tools"] = sorted(set(columns["tools"]))
    if "scopes" in fields:
        columns["scopes"] = sorted(set(fields["scopes"]))
    return columns


def _moment(at: datetime) -> datetime:
    present = now()
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        at = present
    if not present < at < present + _LONGEST:
        raise InvalidInput("expires_at: must be in the future, and within a century.", fields=("expires_at",))
    return at


def _networks(addresses: Sequence[str]) -> list[str]:
    try:
        return list(dict.fromkeys(str(parse_network(address)) for address in addresses))
    except ValueError as error:
        raise InvalidInput(f"addresses: {error}.", fields=("addresses",)) from None


def _owner(principal: Principal) -> str | None:
    """Whose keys the caller may touch; None for everybody's."""
    return None if principal.is_admin else principal.user_id


def _caps_of(uow: UnitOfWork, principal: Principal) -> KeyCaps:
    return KeyCaps.of(_found(uow.api_keys.get(principal.credential_id, principal.user_id)))


def _found(record: ApiKeyEntity | None) -> ApiKeyEntity:
    if record is None:
        raise NotFound("There is no such API key.", "key_not_found")
    return record
