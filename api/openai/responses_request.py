"""A request for a response: checked, and said in neutral words; what cannot be said for any provider is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from api.openai.decoding import Fields, decode, fields_of
from api.openai.responses_fields import (
    HINTS,
    INCLUDABLE,
    KNOWN,
    REFUSED,
    USUAL,
    CreateIn,
    FormatIn,
    ReasoningIn,
    ToolChoiceIn,
    ToolIn,
)
from api.openai.responses_items import Item, Prompt, input_items
from domain.chat import ChatRequest, Options, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput, UnsupportedInput
from domain.principal import Principal
from services.response_service import StoredResponse, Wish, new_response_id

_decoder = msgspec.json.Decoder(CreateIn)
_MODES: tuple[Literal["auto", "none", "required"], ...] = ("auto", "none", "required")
_TRUNCATIONS = ("auto", "disabled")
_SUMMARIES = (None, "auto", "concise", "detailed")


class Earlier(Protocol):
    """What was said before."""

    def chain(self, response_id: str | None, /) -> Sequence[StoredResponse]:
        """The responses that a new one goes on from, oldest first."""

    def item(self, item_id: str, /) -> Item | None:
        """An item of some earlier response."""


@dataclass(frozen=True, slots=True)
class AskedResponse:
    """What a client asks."""

    wish: Wish
    stream: bool
    store: bool


def asked_response(principal: Principal, body: bytes, earlier: Earlier) -> AskedResponse:
    """The request in a body. Raises InvalidInput, which names the field that is wrong, or MalformedJson."""
    fields = fields_of(body)
    asked, unknown = decode(body, _decoder)
    _refuse_unsupported(asked, fields, unknown)
    if asked.background and asked.store is False:
        raise InvalidInput("A response in the background has to be stored.", "invalid_value", ("background",))
    response_id = new_response_id()
    items = input_items(asked.input, response_id, earlier.item)
    prompt = Prompt(asked.instructions or "")
    for response in earlier.chain(asked.previous_response_id):
        prompt.add_items(response.request["input"])
        prompt.add_answer(response.message.parts)
    prompt.add_items(items)
    prompt.check()
    wish = Wish(
        id=response_id,
        model=asked.model,
        asked=_chat_request(principal, asked, prompt),
        request=_kept(asked, items),
        background=bool(asked.background),
        previous_response_id=asked.previous_response_id,
        # A provider that remembers is told the last message only.
        resumes=len(items) == 1 and items[0].get("role") == "user",
    )
    return AskedResponse(wish, bool(asked.stream), asked.store is not False)


def _chat_request(principal: Principal, asked: CreateIn, prompt: Prompt) -> ChatRequest:
    end_user = asked.safety_identifier or asked.user
    return ChatRequest(
        model="",
        messages=prompt.messages,
        system=prompt.system,
        temperature=asked.temperature,
        max_tokens=asked.max_output_tokens,
        end_user=f"{principal.user_id}:{end_user}" if end_user else principal.user_id,
        options=_options(asked),
        whole=asked.truncation != "auto",
    )


def _options(asked: CreateIn) -> Options:
    """In neutral words. What asks for what is usual anyway is not said: not every provider has the words."""
    choice, tools = _tool_choice(asked.tool_choice), [_tool(tool) for tool in asked.tools or ()]
    if isinstance(asked.tool_choice, ToolChoiceIn) and asked.tool_choice.type == "allowed_tools":
        allowed = {tool.get("name") for tool in asked.tool_choice.tools}
        tools = [tool for tool in tools if tool.name in allowed]
    return Options(
        tools=tuple(tools),
        tool_choice=choice,
        parallel_tool_calls=None if asked.parallel_tool_calls else asked.parallel_tool_calls,
        response_format=_response_format(asked.text.format if asked.text else None),
        reasoning_effort=asked.reasoning.effort if asked.reasoning else None,
        top_p=None if asked.top_p == 1 else asked.top_p,
    )


def _tool(tool: ToolIn) -> Tool:
    return Tool(tool.name, tool.description or "", tool.parameters, tool.strict)


def _tool_choice(choice: str | ToolChoiceIn | None) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, ToolChoiceIn) and choice.type == "function" and choice.name:
        return ToolChoice("named", choice.name)
    wanted = choice.mode if isinstance(choice, ToolChoiceIn) and choice.type == "allowed_tools" else choice
    for mode in _MODES:
        if wanted == mode:
            return ToolChoice(mode)
    raise UnsupportedInput("This tool_choice is not supported.", "unsupported_value", ("tool_choice",))


def _response_format(wanted: FormatIn | None) -> ResponseFormat | None:
    match wanted:
        case None | FormatIn(type="text"):
            return None
        case FormatIn(type="json_object"):
            return ResponseFormat("json_object")
        case FormatIn(type="json_schema", name=str() as name, schema=dict() as schema) if name:
            return ResponseFormat("json_schema", name, schema, wanted.description or "", wanted.strict)
    raise InvalidInput(
        "A text.format needs a known type, and a JSON schema its name.", "invalid_value", ("text.format",)
    )


# What cannot be said


def _refuse_unsupported(asked: CreateIn, fields: Fields, unknown: Sequence[str]) -> None:
    for name, raw in fields.items():
        if name in KNOWN or name in HINTS:
            continue
        value = msgspec.json.decode(raw)
        if value is not None and value not in USUAL.get(name, ()):
            raise _unsupported(name, "unsupported_parameter" if name in REFUSED else "unknown_parameter")
    for number, tool in enumerate(asked.tools or ()):
        _check_tool(tool, f"tools[{number}]")
    for place in unknown:
        raise _unsupported(place, "unknown_parameter")
    _check_values(asked)


def _check_values(asked: CreateIn) -> None:
    if asked.text is not None and asked.text.verbosity not in (None, "medium"):
        raise _unsupported("text.verbosity")
    if asked.truncation not in (None, *_TRUNCATIONS):
        raise _invalid("truncation", _TRUNCATIONS)
    for number, wanted in enumerate(asked.include or ()):
        if wanted not in INCLUDABLE:
            raise _unsupported(f"include[{number}]", "unsupported_value")
    if asked.reasoning is not None:
        _check_reasoning(asked.reasoning)


def _check_tool(tool: ToolIn, place: str) -> None:
    if tool.type != "function":
        raise _unsupported(f"{place}.type", "unsupported_value")
    if not tool.name:
        raise InvalidInput(
            f"Missing required parameter: '{place}.name'.", "missing_required_parameter", (f"{place}.name",)
        )
    for name in ("output_schema", "defer_loading", "allowed_callers"):
        if getattr(tool, name):
            raise _unsupported(f"{place}.{name}")


def _check_reasoning(reasoning: ReasoningIn) -> None:
    if reasoning.mode is not None:
        raise _unsupported("reasoning.mode")
    if reasoning.context not in (None, "auto"):
        raise _unsupported("reasoning.context")
    for name in ("summary", "generate_summary"):
        if getattr(reasoning, name) not in _SUMMARIES:
            raise _invalid(f"reasoning.{name}", _SUMMARIES[1:])


def _unsupported(name: str, code: str = "unsupported_parameter") -> UnsupportedInput:
    if code == "unknown_parameter":
        return UnsupportedInput(f"Unknown parameter: '{name}'.", code, (name,))
    return UnsupportedInput(f"'{name}' is not supported with this value, or at all.", code, (name,))


def _invalid(name: str, values: Sequence[str | None]) -> InvalidInput:
    told = ", ".join(f"'{value}'" for value in values)
    return InvalidInput(f"Invalid value for '{name}': it must be one of {told}.", "invalid_value", (name,))


# What is kept


def _kept(asked: CreateIn, items: Sequence[Item]) -> dict[str, Any]:
    """The request as a response shows it, and its input."""
    reasoning, text = asked.reasoning or ReasoningIn(), asked.text
    shown: dict[str, Any] = {
        "model": asked.model,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary or reasoning.generate_summary},
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": asked.store is not False,
        "temperature": asked.temperature,
        "text": {"format": _format_shown(text.format if text else None)},
        "tool_choice": "auto" if asked.tool_choice is None else _choice_shown(asked.tool_choice),
        "tools": [_tool_shown(tool) for tool in asked.tools or ()],
        "top_p": asked.top_p,
        "truncation": asked.truncation or "disabled",
        "input": list(items),
    }
    return shown if asked.user is None else shown | {"user": asked.user}


def _format_shown(wanted: FormatIn | None) -> Mapping[str, Any]:
    if wanted is None or wanted.type != "json_schema":
        return {"type": wanted.type if wanted else "text"}
    described = {"description": wanted.description} if wanted.description else {}
    return {"type": wanted.type, "name": wanted.name, "schema": wanted.schema, "strict": wanted.strict, **described}


def _choice_shown(choice: str | ToolChoiceIn) -> str | Mapping[str, Any]:
    if isinstance(choice, str):
        return choice
    if choice.type == "allowed_tools":
        return {"type": choice.type, "mode": choice.mode, "tools": choice.tools}
    return {"type": choice.type, "name": choice.name}


def _tool_shown(tool: ToolIn) -> Mapping[str, Any]:
    return {
        "type": tool.type,
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
