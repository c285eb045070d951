"""What is asked of a model: the neutral request that every adapter translates to its wire."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from domain.messages import MessageRole, Part, text_of


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do, as data: nobody asks for a provider by name."""

    vision: bool = False
    tools: bool = False
    reasoning: bool = False
    stream_usage: bool = True  # sends token usage at the end of a stream when asked
    system_prompt: bool = True  # takes a system prompt of ours
    general: bool = True  # follows any instruction: titles can be asked of it; false for apps and the echo


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model at a provider. ``context_window`` and ``max_output`` are in tokens."""

    name: str
    context_window: int
    max_output: int
    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt."""

    role: MessageRole
    parts: Sequence[Part]

    @property
    def text(self) -> str:
        """Its readable text."""
        return text_of(self.parts)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to be answered by one model.

    ``end_user`` is a stable, opaque name of our user for providers that keep state or watch for abuse.
    ``upstream_state`` is what the adapter itself reported last for this session (Dify keeps a conversation id there).
    """

    model: str
    messages: Sequence[PromptMessage]
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    end_user: str = ""
    upstream_state: str = ""

    def with_messages(self, messages: Sequence[PromptMessage]) -> Self:
        """The same request over other messages."""
        return replace(self, messages=messages)
