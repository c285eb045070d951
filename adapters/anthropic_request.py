"""Requests in the words of Anthropic's Messages: the client's own, or ours."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from adapters.model_catalog import Quirks
from adapters.openai_request import plain_text
from domain.chat import ChatRequest, ModelInfo, NativeRequest, Options, ToolChoice
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, ToolCall, ToolResult

_PDF = "data:application/pdf;base64,"
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")
_MODES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_LEAST_BUDGET = 1024  # tokens; the provider refuses less
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 65_536}
_EFFORTS = ((4096, "low"), (16_384, "medium"))  # up to so many tokens of thought


def native_body(native: NativeRequest, model: str, *, streamed: bool | None) -> bytes:
    """The client's own fields, byte for byte, with our name of the model. ``streamed`` None: it is no question."""
    fields = dict(native.fields)
    if "model" not in fields or msgspec.json.decode(fields["model"]) != model:
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    if streamed:
        fields["stream"] = _TRUE
    elif fields.get("stream") != _FALSE:
        fields.pop("stream", None)
    if native.body and fields == native.fields:
        return native.body
    return msgspec.json.encode(fields)


def request_body(request: ChatRequest, model: ModelInfo, quirks: Quirks, extra: Mapping[str, Any]) -> bytes:
    """The JSON of a request. ``extra`` fields win over ours; one that is ``None`` is left out."""
    options = request.options
    output = request.max_tokens or model.max_output  # the protocol has no default
    turns = wire_turns(request)
    thinking, effort = _thinking(options, output, quirks, in_tools=_ends_in_results(turns))
    sampled = quirks.temperature and not thinking  # no setting of it is taken beside thinking
    fields: dict[str, Any] = {
        "model": model.name,
        "max_tokens": output,
        "system": "\n\n".join(_system(request)) or None,
        "messages": turns,
        "temperature": request.temperature if sampled else None,
        "top_p": options.top_p if sampled else None,
        "top_k": options.top_k if sampled else None,
        "stop_sequences": list(options.stop) or None,
        "tools": [_tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in options.tools] or None,
        "tool_choice": _tool_choice(options),
        "thinking": thinking,
        "output_config": _output_config(options, effort),
        **extra,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _system(request: ChatRequest) -> Iterator[str]:
    """Ours, and those that stand among the messages: the protocol has one place for all of them."""
    if request.system:
        yield request.system
    for message in request.messages:
        if message.role is MessageRole.SYSTEM and message.text:
            yield message.text


def _tool(name: str, description: str, parameters: Mapping[str, Any] | None, strict: bool | None) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": name, "input_schema": parameters or {"type": "object", "properties": {}}}
    if description:
        tool["description"] = description
    return tool | ({"strict": True} if strict else {})


def _tool_choice(options: Options) -> dict[str, Any] | None:
    alone = options.parallel_tool_calls is False
    choice = options.tool_choice or (ToolChoice("auto") if alone and options.tools else None)
    if choice is None:
        return None
    wire: dict[str, Any] = {"type": _MODES[choice.mode]}
    if choice.mode == "named":
        wire["name"] = choice.name
    if alone and choice.mode != "none":
        wire["disable_parallel_tool_use"] = True
    return wire


def _output_config(options: Options, effort: str | None) -> dict[str, Any] | None:
    config: dict[str, Any] = {"effort": effort} if effort else {}
    wanted = options.response_format
    if wanted is not None and wanted.kind == "json_schema":
        config["format"] = {"type": "json_schema", "schema": wanted.schema or {}}
    return config or None


def _ends_in_results(turns: list[dict[str, Any]]) -> bool:
    return bool(turns) and any(block["type"] == "tool_result" for block in turns[-1]["content"])


def _thinking(
    options: Options, output: int, quirks: Quirks, *, in_tools: bool
) -> tuple[dict[str, Any] | None, str | None]:
    """How to ask for thought, and the effort; None where nothing was asked for or none is taken.

    A forced tool leaves no room for thought. And with a budget the provider wants the thoughts that led to its calls
    back with their results (``in_tools``), signed: only its own protocol carries these.
    """
    budget, effort = options.reasoning_budget, options.reasoning_effort
    forced = options.tool_choice is not None and options.tool_choice.mode in ("required", "named")
    if effort == "none" or (budget is None and effort is None):
        return ({"type": "disabled"} if quirks.adaptive_thinking and effort == "none" else None), None
    if quirks.adaptive_thinking:
        word = effort or next((word for most, word in _EFFORTS if (budget or 0) <= most), "high")
        asked = None if forced else {"type": "adaptive", "display": "summarized"}
        return asked, "low" if word == "minimal" else word
    if forced or in_tools:
        return None, None
    tokens = budget if budget is not None else _BUDGETS.get(effort or "", _BUDGETS["medium"])
    tokens = min(tokens, output - 1 if budget is not None else output // 2)  # the answer has to fit beside it
    return ({"type": "enabled", "budget_tokens": tokens} if tokens >= _LEAST_BUDGET else None), None


def wire_turns(request: ChatRequest) -> list[dict[str, Any]]:
    """The prompt in turns that alternate: what follows from the same side is one turn.

    Of our own history, only complete pairs of a tool call and its result are sent: one without the other, as a stopped
    answer leaves behind, is refused. A client's prompt goes out as it is, thoughts apart: without their signature they
    are refused, too.
    """
    parts = [part for message in request.messages for part in message.parts]
    called = {part.id for part in parts if isinstance(part, ToolCall)}
    answered = {part.id for part in parts if isinstance(part, ToolResult)}
    paired = called | answered if request.whole else called & answered
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role is MessageRole.SYSTEM:
            continue
        for part in message.parts:
            side = "user" if isinstance(part, ToolResult) else message.role.value
            if (block := _block(part, side, paired)) is None:
                continue
            if not turns or turns[-1]["role"] != side:
                turns.append({"role": side, "content": []})
            turns[-1]["content"].append(block)
    return turns


def _block(part: Part, side: str, paired: set[str]) -> dict[str, Any] | None:
    match part:
        case ToolCall(id=call_id, name=name, arguments=arguments):
            call = {"type": "tool_use", "id": call_id, "name": name, "input": _input(arguments)}
            return call if call_id in paired else None
        case ToolResult(id=call_id, content=content):
            result = {"type": "tool_result", "tool_use_id": call_id, "content": content}
            return result if call_id in paired else None
        case Image(url=url) if side == "user":
            return {"type": "image", "source": _source(url)}
        case FileReference(url=url, name=name) if side == "user" and url.startswith(_PDF):
            return {"type": "document", "source": _source(url), **({"title": name} if name else {})}
        case Reasoning():
            return None
    text = plain_text(part)
    return {"type": "text", "text": text} if text.strip() else None  # the provider refuses blank ones


def _input(arguments: str) -> Any:
    """The arguments as the object that the protocol wants; what the model wrote that is none, under a name."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.MsgspecError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def _source(url: str) -> dict[str, str]:
    head, comma, content = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": head.removeprefix("data:").removesuffix(";base64"), "data": content}
