"""Rows of registered models: how they are made and changed, and what they may hold."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict, cast

from domain.clock import now
from domain.errors import InvalidInput
from domain.identifiers import new_id
from domain.money import Price
from models import RegisteredModelEntity
from repositories.registered_model_repository import SYSTEM
from services.key_rotation import place_of
from services.provider_directory import EVERYBODY
from services.vault import Vault

_HINT_CHARS = 4
_LONG_ENOUGH = 16  # a key of which four characters tell nothing
_LEAST_KEY = 8
_KEY_SHAPED = re.compile(r"\b(?:sk|pk|ak|app)-[\w-]{16,}")
_COLUMNS = {"name": "public_name"}
_SAME = ("aliases", "kind", "base_url", "upstream_model", "context_window", "max_output", "capabilities", "visible_to")


class ModelFields(TypedDict, total=False):
    """What people say of a model. ``api_key`` and ``price``: None takes it away. ``visible_to``: see the entity."""

    name: str
    aliases: Sequence[str]
    kind: str
    base_url: str
    api_key: str | None
    upstream_model: str
    context_window: int | None
    max_output: int | None
    capabilities: dict[str, Any]
    visible_to: str
    enabled: bool
    price: Price | None


def new_row(holder: str, fields: ModelFields, vault: Vault) -> RegisteredModelEntity:
    """A row that is not stored yet. Raises :class:`InvalidInput`."""
    moment = now()
    row = RegisteredModelEntity(
        id=new_id("mdl"),
        owner_id=None if holder == SYSTEM else holder,
        holder=holder,
        public_name=fields["name"],
        aliases=[],
        kind=fields["kind"],
        base_url="",
        api_key=None,
        key_hint="",
        upstream_model=fields["name"],
        context_window=None,
        max_output=None,
        capabilities={},
        visible_to=EVERYBODY,
        enabled=True,
        created_at=moment,
        updated_at=moment,
    )
    fill(row, fields, vault)
    return row


def copy_of(row: RegisteredModelEntity) -> RegisteredModelEntity:
    """The same row, tied to no transaction."""
    values = {column.key: getattr(row, column.key) for column in RegisteredModelEntity.__table__.columns}
    return RegisteredModelEntity(**values)


def fill(row: RegisteredModelEntity, fields: ModelFields, vault: Vault) -> None:
    """Put what is given into a row. Raises :class:`InvalidInput`, Unavailable if the master key cannot be read.

    A key that is there is not sent to another address than the one that it was given for: whoever changes that has to
    know the key.
    """
    given = cast("dict[str, Any]", fields)
    moved = any(name in given and given[name] != getattr(row, name) for name in ("kind", "base_url"))
    if moved and row.api_key is not None and "api_key" not in given:
        raise InvalidInput("Give the key again where kind or base_url change.", "key_needed", ("api_key",))
    for name in ("name", "enabled", *_SAME):
        if name in given:
            value = given[name]
            setattr(row, _COLUMNS.get(name, name), list(value) if name == "aliases" else value)
    if "api_key" in given:
        _put_key(row, (given["api_key"] or "").strip(), vault)
    row.updated_at = now()
    _check(row, (given.get("api_key") or "").strip())


def _put_key(row: RegisteredModelEntity, key: str, vault: Vault) -> None:
    row.api_key = vault.seal(key, *place_of(row.id, row.holder)) if key else None
    hint = key[-_HINT_CHARS:] if len(key) >= _LONG_ENOUGH else ""
    row.key_hint = hint if hint.isascii() else ""


def _check(row: RegisteredModelEntity, key: str) -> None:
    """Keys are for one field: the others are shown, logged, and stored as they are."""
    for field, text in _texts(row):
        if _KEY_SHAPED.search(text) or (len(key) >= _LEAST_KEY and key in text):
            raise InvalidInput(f"{field}: this looks like a key; keys go into api_key only.", fields=(field,))
    names = [row.public_name, *row.aliases]
    if len(set(names)) != len(names):
        raise InvalidInput("aliases: each name is needed once.", fields=("aliases",))


def _texts(row: RegisteredModelEntity) -> Iterator[tuple[str, str]]:
    yield "name", row.public_name
    yield from (("aliases", alias) for alias in row.aliases)
    yield "kind", row.kind
    yield "base_url", row.base_url
    yield "upstream_model", row.upstream_model
