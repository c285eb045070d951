"""The kinds of provider that people may register: the adapters of this package, and those that other packages bring.

A kind is the name of an adapter's file (``<kind>_adapter.py``) or of an entry point in ``unichat.adapters``. People
choose from this list; what they send is never taken for a path.
"""

import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import adapters
from adapters.base_adapter import BaseAdapter, Guard
from adapters.registry import ENTRY_POINT_GROUP, ConfigError, load_guarded
from domain.errors import InvalidInput

_SUFFIX = "_adapter"


@cache
def adapter_classes() -> Mapping[str, str]:
    """Kind -> what AI_PROVIDERS would call its adapter class, by name."""
    brought = {point.name: point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    own = {name.removesuffix(_SUFFIX): path for name in _modules() if (path := _class_in(name))}
    return dict(sorted({**brought, **own}.items()))


def adapter_of_kind(kind: str, name: str, config: Mapping[str, Any], guard: Guard) -> BaseAdapter:
    """An adapter called ``name``, which calls only what ``guard`` lets it. Raises :class:`InvalidInput`."""
    path = adapter_classes().get(kind)
    if path is None:
        message = f"There is no such kind of provider; there are: {', '.join(adapter_classes())}."
        raise InvalidInput(message, "unknown_kind", ("kind",))
    try:
        return load_guarded(name, {"adapter_class": path, "config": config}, guard)
    except ConfigError as error:
        faults = [fault.removeprefix(f"{name}: ").removeprefix("config.") for fault in error.faults]
        fields = tuple(dict.fromkeys(fault.partition(":")[0].partition(".")[0] for fault in faults))
        raise InvalidInput("; ".join(faults), fields=fields) from None


def _modules() -> list[str]:
    return [found.name for found in pkgutil.iter_modules(adapters.__path__) if found.name.endswith(_SUFFIX)]


def _class_in(module: str) -> str | None:
    """The path of the adapter that a module defines; None for the modules that adapters are built on."""
    full = f"{adapters.__name__}.{module}"
    for name, member in vars(import_module(full)).items():
        complete = isinstance(member, type) and issubclass(member, BaseAdapter) and not inspect.isabstract(member)
        if complete and member.__module__ == full:
            return f"{full}.{name}"
    return None
