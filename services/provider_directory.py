"""All providers by name: the declared ones, and one for each model that was registered at run time."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.base_adapter import BaseAdapter, Providers
from domain.errors import AppError
from domain.principal import Role
from models import RegisteredModelEntity
from repositories.unit_of_work import UnitOfWork
from services.key_rotation import place_of
from services.registered_models import Registered, RegisteredModels
from services.vault import Vault

log = structlog.get_logger()

EVERYBODY = "everybody"
STAMP = "models"
MakeAdapter = Callable[[str, str, Mapping[str, Any]], BaseAdapter]  # kind, name, config; raises InvalidInput


@dataclass(frozen=True, slots=True)
class _Made:
    """An adapter, and all that it was made from."""

    adapter: BaseAdapter
    source: tuple[str, Mapping[str, Any]]


class ProviderDirectory(Mapping[str, BaseAdapter]):
    """Finds every provider by its name. A registered model is at a provider of its own, called by the model's id.

    Iterating shows the declared ones only: the others are not everybody's. ``make`` makes adapters. One that was taken
    away or replaced is found, or at least not closed, for ``kept_s`` seconds: turns that began with it may go on.
    """

    def __init__(
        self,
        declared: Providers,
        vault: Vault,
        make: MakeAdapter,
        kept_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._declared = declared
        self._vault = vault
        self._make = make
        self._kept_s = kept_s
        self._now = now
        self._made: dict[str, _Made] = {}
        self._leaving: dict[str, tuple[BaseAdapter, float]] = {}  # by id: until when it is found
        self._closing: list[tuple[BaseAdapter, float]] = []
        self.registered = RegisteredModels()

    def __getitem__(self, name: str) -> BaseAdapter:
        if name in self._declared:
            return self._declared[name]
        if (made := self._made.get(name)) is not None:
            return made.adapter
        return self._leaving[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def reload(self, uow: UnitOfWork) -> None:
        """Read the registered models anew."""
        rows = [row for row in uow.models.all() if row.enabled]
        before, made, models = self._made, {}, []
        for row in rows:
            if (one := self._made_of(row, before.get(row.id))) is not None:
                made[row.id] = one
            models.append(_registered(row, one.adapter if one else None))
        self._let_go(before, made)
        self._made, self.registered = made, RegisteredModels(models)

    def adapter_of(self, row: RegisteredModelEntity) -> BaseAdapter:
        """An adapter for a row as it is now, in use or not. Raises InvalidInput, and SealBroken (see Vault)."""
        return self._make(row.kind, row.id, self._config(row))

    def _made_of(self, row: RegisteredModelEntity, before: _Made | None) -> _Made | None:
        try:
            source = (row.kind, self._config(row))
            if before is not None and before.source == source:
                return before  # with its open connections
            return _Made(self._make(row.kind, row.id, source[1]), source)
        except AppError as error:
            log.warning("model_unusable", model_id=row.id, code=error.error_code, reason=error.message)
            return None

    def _config(self, row: RegisteredModelEntity) -> dict[str, Any]:
        key = "" if row.api_key is None else self._vault.open(row.api_key, *place_of(row.id, row.holder))
        return provider_config(row, key)

    def _let_go(self, before: Mapping[str, _Made], after: Mapping[str, _Made]) -> None:
        now = self._now()
        for name, made in before.items():
            if name not in after:
                self._leaving[name] = (made.adapter, now + self._kept_s)
            elif after[name] is not made:
                self._closing.append((made.adapter, now + self._kept_s))
        over = [adapter for adapter, until in (*self._leaving.values(), *self._closing) if until <= now]
        self._leaving = {name: one for name, one in self._leaving.items() if one[1] > now and name not in after}
        self._closing = [one for one in self._closing if one[1] > now]
        for adapter in over:
            adapter.close()


def provider_config(row: RegisteredModelEntity, key: str) -> dict[str, Any]:
    """The ``config`` that AI_PROVIDERS would have for the provider of a registered model."""
    known = {"context_window": row.context_window, "max_output": row.max_output, **row.capabilities}
    model = {"name": row.upstream_model, **{name: value for name, value in known.items() if value is not None}}
    return {"api_key": key, "base_url": row.base_url, "default_model": row.upstream_model, "models": [model]}


def _registered(row: RegisteredModelEntity, adapter: BaseAdapter | None) -> Registered:
    return Registered(
        id=row.id,
        owner_id=row.owner_id,
        name=row.public_name,
        aliases=tuple(row.aliases),
        upstream_model=row.upstream_model,
        roles=None if row.visible_to == EVERYBODY else frozenset(map(Role, row.visible_to.split(","))),
        created_at=row.created_at,
        adapter=adapter,
    )
