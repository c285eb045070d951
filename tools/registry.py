"""Tools by name: those of this package, and those that other packages bring along."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points

import tools
from tools.base_tool import BaseTool

ENTRY_POINT_GROUP = "unichat.tools"


class UnknownTool(ValueError):
    """A tool is named that there is not."""


def load_tools(names: Sequence[str]) -> Mapping[str, BaseTool]:
    """The tools with these names. Raises :class:`UnknownTool`, which tells what there is."""
    if not names:
        return {}  # no package of anybody's is imported for nothing
    known = {tool.name: tool for tool in _all()}
    missing = [name for name in names if name not in known]
    if missing:
        raise UnknownTool(f"there is no tool {', '.join(missing)}; there are: {', '.join(sorted(known))}")
    return {name: known[name]() for name in names}


def _all() -> Iterator[type[BaseTool]]:
    for module in pkgutil.iter_modules(tools.__path__, "tools."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(found, BaseTool) and not inspect.isabstract(found) and found.__module__ == module.name:
                yield found
    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield point.load()
