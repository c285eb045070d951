"""The fields of a chat completions request, as OpenAI documents them: their types, and which mean what for us."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """What is unknown in it must not be dropped: see :mod:`api.openai.decoding`."""


class ImageUrl(_Strict):
    """A picture by its address; ``detail`` is a hint."""

    url: str
    detail: str | None = None


class PartIn(_Strict):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    input_audio: dict[str, Any] | None = None
    file: dict[str, Any] | None = None


class FunctionCallIn(_Strict):
    """What the model asked to call."""

    name: str
    arguments: str


class ToolCallIn(_Strict):
    """A call that the model made earlier."""

    id: str
    type: str = "function"
    function: FunctionCallIn | None = None
    custom: dict[str, Any] | None = None


class MessageIn(_Strict):
    """One message of the prompt."""

    role: str
    content: str | list[PartIn] | None = None
    name: str | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    audio: dict[str, Any] | None = None
    function_call: FunctionCallIn | None = None


class FunctionIn(_Strict):
    """A function that may be called; ``parameters`` is its JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(_Strict):
    """A tool."""

    type: str
    function: FunctionIn | None = None
    custom: dict[str, Any] | None = None


class NamedIn(_Strict):
    """A function by its name."""

    name: str


class ToolChoiceIn(_Strict):
    """Which tool has to be called."""

    type: str
    function: NamedIn | None = None
    custom: dict[str, Any] | None = None
    allowed_tools: dict[str, Any] | None = None


class JsonSchemaIn(_Strict):
    """The schema that the answer has to fit."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormatIn(_Strict):
    """The form of the answer."""

    type: str
    json_schema: JsonSchemaIn | None = None


class StreamOptionsIn(_Strict):
    """How the stream is to be."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatIn(msgspec.Struct):
    """The request. What it does not name is passed to a provider that speaks the protocol, and refused for others."""

    model: str
    messages: Annotated[list[MessageIn], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    tools: list[ToolIn] | None = None
    tool_choice: str | ToolChoiceIn | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatIn | None = None
    reasoning_effort: str | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    functions: list[FunctionIn] | None = None
    function_call: str | NamedIn | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    moderation: dict[str, Any] | None = None


DOCUMENTED = frozenset(ChatIn.__struct_fields__)
# What we say in our own words to providers that speak another protocol.
TRANSLATED = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
    }
)
# What changes nothing of an answer: such a provider is not told of it.
HINTS = frozenset(
    {"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "metadata"}
)
# What asks for nothing but what every provider does anyway.
USUAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": ("medium",),
}
