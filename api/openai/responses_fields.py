"""The fields of a request for a response, as OpenAI documents them: their types, and which mean what for us."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """What is unknown in it must not be dropped: see :mod:`api.openai.decoding`."""


class ContentIn(_Strict):
    """A part of an item's content. ``detail`` and ``prompt_cache_breakpoint`` are hints."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    detail: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    prompt_cache_breakpoint: Any = None


class SummaryIn(_Strict):
    """A piece of reasoning, or of its summary."""

    text: str
    type: str = "summary_text"


class ItemIn(_Strict):
    """One item of the input; what has a role and no type is a message, what has an id alone is a reference."""

    type: str | None = None
    id: str | None = None
    status: str | None = None
    role: str | None = None
    content: str | list[ContentIn] | None = None
    phase: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ContentIn] | None = None
    summary: list[SummaryIn] | None = None
    encrypted_content: str | None = None
    namespace: str | None = None
    caller: Any = None


class ToolIn(_Strict):
    """A tool; ``parameters`` of a function is its JSON Schema."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    output_schema: dict[str, Any] | None = None
    defer_loading: bool | None = None
    allowed_callers: list[Any] | None = None


class ToolChoiceIn(_Strict):
    """Which tools may, or have to, be called."""

    type: str
    name: str = ""
    mode: str = "auto"
    tools: list[dict[str, Any]] = []


class FormatIn(_Strict):
    """The form of the answer; ``schema`` is a JSON Schema."""

    type: str
    name: str = ""
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextIn(_Strict):
    """How the text of the answer is to be."""

    format: FormatIn | None = None
    verbosity: str | None = None


class ReasoningIn(_Strict):
    """How the model is to think; ``generate_summary`` is the old name of ``summary``."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    mode: str | None = None
    context: str | None = None


class CreateIn(msgspec.Struct):
    """The request."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | Annotated[list[ItemIn], Meta(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=0)] | None = None
    tools: list[ToolIn] | None = None
    tool_choice: str | ToolChoiceIn | None = None
    parallel_tool_calls: bool | None = None
    text: TextIn | None = None
    reasoning: ReasoningIn | None = None
    truncation: str | None = None
    include: list[str] | None = None
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    user: str | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None


# Beyond these: what changes nothing of an answer, and what asks for nothing but the usual.
HINTS = frozenset({"stream_options", "prompt_cache_options"})
USUAL: dict[str, tuple[Any, ...]] = {"service_tier": ("auto", "default"), "top_logprobs": (0,)}
# What we cannot do, for any provider.
REFUSED = frozenset({"conversation", "context_management", "moderation", "prompt", "service_tier", "top_logprobs"})
KNOWN = frozenset(CreateIn.__struct_fields__)
# Of what may be included only this is not there, or not always there already.
NOT_INCLUDED = frozenset({"message.output_text.logprobs"})
INCLUDABLE = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "reasoning.encrypted_content",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
