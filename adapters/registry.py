"""Adapters from AI_PROVIDERS: found by dotted path or entry point, checked as a whole, before the first request."""

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from pydantic import ValidationError

from adapters.base_adapter import AdapterConfig, BaseAdapter, Guard, ProviderEntries
from domain.egress import url_fault

ENTRY_POINT_GROUP = "unichat.adapters"
_KEYS = {"adapter_class", "config"}
# What says how a message is framed and whom it is for: ours to say, where the address is not the operator's word.
_FRAMING_HEADERS = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


class ConfigError(ValueError):
    """AI_PROVIDERS is wrong; ``faults`` has one sentence for each thing that is. Values are never quoted: keys leak."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(["AI_PROVIDERS is not valid:", *(f"- {fault}" for fault in faults)]))
        self.faults = tuple(faults)


class _EntryError(Exception):
    """The faults of one entry."""


def load_providers(entries: ProviderEntries) -> dict[str, BaseAdapter]:
    """Every configured provider by its name, in the order of the configuration.

    The ones that lack a key are in it too, with ``enabled`` false, so that they can be listed; see
    :func:`enabled_providers`. Raises :class:`ConfigError` with every fault of every entry.
    """
    providers: dict[str, BaseAdapter] = {}
    faults: list[str] = []
    for name, entry in entries.items():
        try:
            providers[name] = _load(name, entry)
        except _EntryError as fault:
            faults += [f"{name}: {text}" for text in fault.args]
    if faults:
        raise ConfigError(faults)
    return providers


def load_guarded(name: str, entry: Mapping[str, Any], guard: Guard) -> BaseAdapter:
    """A provider that somebody registered, as an entry of AI_PROVIDERS; it calls only what ``guard`` lets it.

    Nothing is looked up: ask :meth:`Egress.check` of its base URL before it is saved. Raises :class:`ConfigError`.
    """
    try:
        return _load(name, entry, guard)
    except _EntryError as fault:
        raise ConfigError([f"{name}: {text}" for text in fault.args]) from None


def enabled_providers(providers: Mapping[str, BaseAdapter]) -> dict[str, BaseAdapter]:
    """The ones that can be called."""
    return {name: adapter for name, adapter in providers.items() if adapter.enabled}


def _load(name: str, entry: Mapping[str, Any], guard: Guard | None = None) -> BaseAdapter:
    if not isinstance(entry, Mapping):
        raise _EntryError("the entry is not a mapping with adapter_class and config")
    unknown = [f"unknown key {key!r}" for key in entry if key not in _KEYS]
    adapter = _adapter_class(entry.get("adapter_class"), unknown)
    try:
        config = adapter.Config.model_validate(entry.get("config") or {})
    except ValidationError as error:
        raise _EntryError(*unknown, *_config_faults(error)) from None
    faults = unknown + (_guard(adapter, config, guard) if guard is not None else [])
    if faults:
        raise _EntryError(*faults)
    return _construct(adapter, name, config)


def _guard(adapter: type[BaseAdapter], config: AdapterConfig, guard: Guard) -> list[str]:
    """Have ``guard`` watch over what is made of ``config``; what is wrong with that."""
    faults = [] if adapter.guardable else ["this adapter makes connections of its own, and cannot be registered"]
    framing = sorted(_FRAMING_HEADERS & {name.lower() for name in config.headers})
    faults += [f"config.headers: {name} cannot be set" for name in framing]
    if config.base_url and (fault := url_fault(config.base_url)):
        faults.append(f"config.base_url: {fault}")
    config.set_guard(guard)
    return faults


def _adapter_class(path: object, other_faults: list[str]) -> type[BaseAdapter]:
    if not isinstance(path, str) or not path:
        raise _EntryError(*other_faults, "adapter_class is missing")
    try:
        found = resolve_name(path) if "." in path else _entry_point(path)
    except Exception as error:  # importing somebody's package can raise anything
        raise _EntryError(*other_faults, f"adapter_class {path!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, BaseAdapter)) or inspect.isabstract(found):
        raise _EntryError(*other_faults, f"adapter_class {path!r} is not a complete BaseAdapter")
    return found


def _entry_point(name: str) -> object:
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point.load()
    raise LookupError(f"no entry point of that name in {ENTRY_POINT_GROUP}")


def _config_faults(error: ValidationError) -> list[str]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{'.'.join(['config', *map(str, fault['loc'])])}: {fault['msg']}" for fault in faults]


def _construct(adapter: type[BaseAdapter], name: str, config: Any) -> BaseAdapter:
    try:
        return adapter(name, config)
    except ValueError as error:
        raise _EntryError(str(error)) from error
