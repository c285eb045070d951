"""A request to Messages as it comes in: what is read of it. The rest is for providers that speak the protocol."""

from typing import Annotated, Any, Literal

import msgspec

_NULL = msgspec.Raw(b"null")
Count = Annotated[int, msgspec.Meta(ge=0)]


class Source(msgspec.Struct):
    """Where the content of a picture or document comes from."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: "str | list[Block]" = ""


class Block(msgspec.Struct):
    """A content block of any type."""

    type: str
    text: str = ""
    source: Source | str | None = None  # a search result has the name of its source there
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    tool_use_id: str = ""
    content: "str | list[Block] | None" = None
    is_error: bool | None = None
    title: str | None = None
    context: str | None = None
    citations: Any = None


Content = str | list[Block]


class Turn(msgspec.Struct):
    """One message; content as a string is one text block."""

    role: Literal["user", "assistant", "system"]
    content: Content


class ToolIn(msgspec.Struct):
    """A tool. Without a type, or with ``custom``, it is the client's own; any other is run by the provider."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: list[Any] | None = None


class ToolChoiceIn(msgspec.Struct):
    """Whether a tool has to be used."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class ThinkingIn(msgspec.Struct):
    """Whether to think, and at most how many tokens long."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Count | None = None


class FormatIn(msgspec.Struct):
    """The form of the answer."""

    type: str
    schema: dict[str, Any] | None = None


class OutputIn(msgspec.Struct):
    """How much effort to make, and the form of the answer."""

    effort: str | None = None
    format: FormatIn | None = None
    task_budget: Any = None


class MetadataIn(msgspec.Struct):
    """``user_id`` is an opaque name of the client's own user."""

    user_id: str | None = None


class MessagesIn(msgspec.Struct):
    """The body of ``POST /v1/messages``."""

    model: str
    messages: list[Turn]
    max_tokens: Count | None = None
    system: Content | None = None
    metadata: MetadataIn | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Count | None = None
    tools: list[ToolIn] | None = None
    tool_choice: ToolChoiceIn | None = None
    thinking: ThinkingIn | None = None
    output_config: OutputIn | None = None


# What is read above, and what changes nothing of an answer: where it may be kept, counted and computed.
TRANSLATED = frozenset(MessagesIn.__struct_fields__)
HINTS = frozenset({"cache_control", "service_tier", "diagnostics", "inference_geo", "user_profile_id"})
