"""What every tool is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from domain.chat import Tool


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool runs: it may do no more than this user may."""

    user_id: str


class ToolFailed(Exception):
    """The tool could not do it; the message is for the model, which may try something else."""


class BaseTool(ABC):
    """One tool. ``name`` is what the model calls it by, ``parameters`` the JSON Schema of its arguments."""

    name: ClassVar[str]
    description: ClassVar[str]
    parameters: ClassVar[Mapping[str, Any]]

    @property
    def offer(self) -> Tool:
        """How it is offered to a model."""
        return Tool(self.name, self.description, self.parameters)

    @abstractmethod
    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Do it; what the model is told. Raises :class:`ToolFailed`.

        It may wait, cooperatively, and is left behind when it takes too long. The arguments are JSON as the model wrote
        it, not checked against the schema.
        """
