"""A client's request to Messages, in the neutral words, with its own beside them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from api.anthropic.prompt import Prompt
from api.anthropic.schemas import HINTS, TRANSLATED, MessagesIn, ToolIn
from api.hardening import MalformedJson
from domain.chat import ChatRequest, NativeRequest, Options, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput

UNSUPPORTED = "unsupported_parameter"
_MODES: Mapping[str, Any] = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}
_OWN_TOOL = (None, "custom")
HEADERS = ("anthropic-version", "anthropic-beta")

_decode = msgspec.json.Decoder(MessagesIn).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read(body: bytes, headers: Mapping[str, str | None], *, end_user: str, counted_only: bool = False) -> ChatRequest:
    """The request of a body; ``headers`` are those of :data:`HEADERS`. ``end_user`` unless the client names one.

    Raises MalformedJson, and InvalidInput that names the field that is wrong. What only the protocol itself can say
    is in ``native.only``: providers that do not speak it refuse it. ``counted_only``: nothing is to be answered.
    """
    try:
        fields, asked = _decode_fields(body), _decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedJson("The body is not a JSON object.") from None
    if not asked.messages:
        raise InvalidInput("messages: at least one message is required.", fields=("messages",))
    if asked.max_tokens is None and not counted_only:
        raise InvalidInput("max_tokens: it is required.", fields=("max_tokens",))
    prompt = Prompt()
    messages = prompt.messages(asked.messages)
    system = prompt.system(asked.system)
    only = {**dict.fromkeys(_own_words(fields, asked), UNSUPPORTED), **dict.fromkeys(prompt.only, UNSUPPORTED)}
    sent = {name: value for name, value in headers.items() if value}
    return ChatRequest(
        model=asked.model,
        messages=messages,
        system=system,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens or None,
        end_user=(asked.metadata and asked.metadata.user_id) or end_user,
        options=_options(asked),
        native=NativeRequest("messages", fields, bool(asked.stream), only, body, sent),
        whole=True,
    )


def _own_words(fields: Mapping[str, msgspec.Raw], asked: MessagesIn) -> Iterator[str]:
    """What no other protocol has: fields of services that the provider runs, and tools of its own."""
    for name, value in fields.items():
        if name not in TRANSLATED and name not in HINTS and bytes(value) not in (b"null", b'"standard"'):
            yield name
    if asked.max_tokens == 0:
        yield "max_tokens"  # only to fill a cache
    output = asked.output_config
    if output is not None and output.task_budget is not None:
        yield "output_config.task_budget"
    if output is not None and output.format is not None and output.format.type != "json_schema":
        yield "output_config.format"
    for number, tool in enumerate(asked.tools or ()):
        if tool.type not in _OWN_TOOL or _is_special(tool):
            yield f"tools[{number}]"


def _is_special(tool: ToolIn) -> bool:
    """Whether it wants to be found or called by tools of the provider's, or is shown by examples."""
    return bool(tool.defer_loading or tool.input_examples or (tool.allowed_callers or ["direct"]) != ["direct"])


def _options(asked: MessagesIn) -> Options:
    choice, thinking, output = asked.tool_choice, asked.thinking, asked.output_config
    return Options(
        tools=_tools(asked.tools or ()),
        tool_choice=ToolChoice(_MODES[choice.type], choice.name) if choice else None,
        parallel_tool_calls=False if choice and choice.disable_parallel_tool_use else None,
        response_format=_format(asked),
        reasoning_effort=output.effort if output else None,
        reasoning_budget=thinking.budget_tokens if thinking and thinking.type == "enabled" else None,
        stop=tuple(asked.stop_sequences or ()),
        top_p=asked.top_p,
        top_k=asked.top_k,
    )


def _tools(tools: Sequence[ToolIn]) -> tuple[Tool, ...]:
    own = (tool for tool in tools if tool.type in _OWN_TOOL)
    return tuple(Tool(tool.name, tool.description or "", tool.input_schema, tool.strict) for tool in own)


def _format(asked: MessagesIn) -> ResponseFormat | None:
    wanted = asked.output_config.format if asked.output_config else None
    if wanted is None or wanted.type != "json_schema":
        return None
    return ResponseFormat("json_schema", "answer", wanted.schema or {}, strict=True)


def _invalid(error: msgspec.ValidationError) -> InvalidInput:
    """The fault as people and programs want it: the place first, as the service writes it."""
    what, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`").removeprefix(".")
    return InvalidInput(f"{place}: {what}" if place else what, fields=(place,) if place else ())
