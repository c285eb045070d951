"""A neutral request in the words of OpenAI's chat completions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from adapters.model_catalog import Quirks
from domain.chat import ChatRequest, ModelInfo, Options, PromptMessage, ResponseFormat, Tool, ToolChoice
from domain.errors import UnsupportedInput
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult

TAKES = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "reasoning_budget",
        "stop",
        "seed",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
    }
)
Fields = dict[str, Any]
_EFFORTS = ((4_096, "low"), (16_384, "medium"))  # up to so many tokens of thought


def request_body(request: ChatRequest, model: ModelInfo, quirks: Quirks, extra: Mapping[str, Any]) -> bytes:
    """The JSON of a streamed request. ``extra`` fields win over ours; one that is ``None`` is left out.

    Raises :class:`UnsupportedInput` for what the protocol cannot say.
    """
    fields: Fields = {
        "model": model.name,
        "messages": wire_messages(request, quirks),
        "stream": True,
        "temperature": request.temperature if quirks.temperature or request.whole else None,
        quirks.output_limit_field: request.max_tokens,
        **option_fields(request.options, model),
        **extra,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def option_fields(options: Options, model: ModelInfo) -> Fields:
    """What the client asked for beyond a plain turn. A model that does not think keeps to any budget for it."""
    budget = options.reasoning_budget if model.capabilities.reasoning else None
    effort = next((word for most, word in _EFFORTS if budget is not None and budget <= most), "high")
    return {
        "tools": [wire_tool(tool) for tool in options.tools] or None,
        "tool_choice": options.tool_choice and wire_choice(options.tool_choice),
        "parallel_tool_calls": options.parallel_tool_calls,
        "response_format": options.response_format and _wire_format(options.response_format),
        "reasoning_effort": options.reasoning_effort or (None if budget is None else effort),
        "stop": list(options.stop) or None,
        "seed": options.seed,
        "top_p": options.top_p,
        "frequency_penalty": options.frequency_penalty,
        "presence_penalty": options.presence_penalty,
    }


def wire_tool(tool: Tool) -> Fields:
    """A function that the model may call."""
    function = {
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def wire_choice(choice: ToolChoice) -> str | Fields:
    """Whether the model has to call one."""
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "named" else choice.mode


def _wire_format(wanted: ResponseFormat) -> Fields:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    schema = {
        "name": wanted.name or "answer",
        "description": wanted.description or None,
        "schema": wanted.schema,
        "strict": wanted.strict,
    }
    return {"type": "json_schema", "json_schema": {name: value for name, value in schema.items() if value is not None}}


def wire_messages(request: ChatRequest, quirks: Quirks) -> list[Fields]:
    """The prompt as a list of wire messages.

    Of our own history, only complete pairs of a tool call and its result are sent: one without the other, as a stopped
    answer leaves behind, is refused. A client's prompt goes out as it is. Raises :class:`UnsupportedInput` for a part
    of it that the protocol cannot say.
    """
    parts = [part for message in request.messages for part in message.parts]
    called = {part.id for part in parts if isinstance(part, ToolCall)}
    answered = {part.id for part in parts if isinstance(part, ToolResult)}
    if request.whole:
        _check_files(parts)
    style = _Style(called | answered if request.whole else called & answered, quirks, request.whole)
    system = [{"role": "system", "content": request.system}] if request.system else []
    return system + [wire for message in request.messages for wire in _wire_message(message, style)]


@dataclass(frozen=True, slots=True)
class _Style:
    """How messages are written: the ids of the tool calls and results that go out, and whether all else does."""

    called: set[str]
    quirks: Quirks
    whole: bool


def _wire_message(message: PromptMessage, style: _Style) -> Iterator[Fields]:
    """One message of ours is several on the wire when tools were called in its midst."""
    pending: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield from _spoken(message.role, pending, style)
            pending = []
            if part.id in style.called:
                yield {"role": "tool", "tool_call_id": part.id, "content": part.content}
        else:
            pending.append(part)
    yield from _spoken(message.role, pending, style)


def _spoken(role: MessageRole, parts: Sequence[Part], style: _Style) -> Iterator[Fields]:
    calls = [_wire_call(part) for part in parts if isinstance(part, ToolCall) and part.id in style.called]
    content = _content(role, parts, style)
    if not calls and not (content or (style.whole and parts)):
        return
    wire: Fields = {"role": role.value, "content": content or (None if calls else "")}
    if calls:
        wire["tool_calls"] = calls
        thought = "".join(part.text for part in parts if isinstance(part, Reasoning))
        if style.quirks.replay_reasoning and thought:
            wire["reasoning_content"] = thought
    yield wire


def _check_files(parts: Sequence[Part]) -> None:
    if any(isinstance(part, FileReference) and not part.url.startswith("data:") for part in parts):
        message = "This provider takes files only with their content, not by their address."
        raise UnsupportedInput(message, "unsupported_parameter", ("messages",))


def _wire_call(call: ToolCall) -> Fields:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}


def _content(role: MessageRole, parts: Sequence[Part], style: _Style) -> str | list[Fields]:
    """Plain text where there is only text, as every compatible server takes; a list of parts beside pictures and files.

    A file in our own history is named only: few servers take one.
    """
    special = (Image, FileReference) if style.whole else Image
    if role is MessageRole.USER and any(isinstance(part, special) for part in parts):
        return [content for part in parts if (content := _content_part(part, style))]
    return "".join(plain_text(part) for part in parts)


def _content_part(part: Part, style: _Style) -> Fields | None:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url}}
    if isinstance(part, FileReference) and style.whole:
        return {"type": "file", "file": {"filename": part.name or "file", "file_data": part.url}}
    text = plain_text(part)
    return {"type": "text", "text": text} if text else None


def plain_text(part: Part) -> str:
    """A part as text: a picture or file that cannot be sent becomes a link, unless its address is its content."""
    match part:
        case Text(text=text):
            return text
        case Image(url=url, alt=alt):
            return f"![{alt}]({url})" if not url.startswith("data:") else f"[picture: {alt or 'untitled'}]"
        case FileReference(url=url, name=name):
            return f"[{name or url}]({url})" if not url.startswith("data:") else f"[file: {name or 'untitled'}]"
    return ""
