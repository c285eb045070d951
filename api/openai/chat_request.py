"""A chat completions request: checked, kept as it came for providers that speak it, and translated for all others."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from api.openai.chat_fields import (
    DOCUMENTED,
    HINTS,
    TRANSLATED,
    USUAL,
    ChatIn,
    ResponseFormatIn,
    StreamOptionsIn,
    ToolChoiceIn,
    ToolIn,
)
from api.openai.chat_messages import Translator
from api.openai.decoding import Fields, decode, fields_of
from domain.chat import ChatRequest, NativeRequest, Options, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput
from domain.principal import Principal

_decoder = msgspec.json.Decoder(ChatIn)
_MODES: tuple[Literal["auto", "none", "required"], ...] = ("auto", "none", "required")


@dataclass(frozen=True, slots=True)
class AskedChat:
    """What a client asks."""

    model: str
    request: ChatRequest
    stream: bool
    include_usage: bool


def asked_chat(principal: Principal, body: bytes) -> AskedChat:
    """The request in a body. Raises InvalidInput, which names the field that is wrong, or MalformedJson."""
    fields = fields_of(body)
    chat, unknown = decode(body, _decoder)
    stream, stream_options = bool(chat.stream), chat.stream_options
    include_usage = check_stream_options(stream_options, stream=stream)
    translator = Translator()
    translator.take(chat.messages)
    only = dict.fromkeys(unknown, "unknown_parameter") | _only(fields) | translator.only
    options = _options(chat, only)
    if stream_options is not None and stream_options.include_obfuscation:
        only["stream_options.include_obfuscation"] = "unsupported_parameter"
    request = ChatRequest(
        model="",
        messages=translator.messages,
        system=translator.system,
        temperature=chat.temperature,
        max_tokens=chat.max_completion_tokens or chat.max_tokens,
        end_user=principal.user_id,
        options=options,
        native=NativeRequest("chat_completions", fields, stream, only, body),
        whole=True,
        choices=chat.n or 1,
    )
    return AskedChat(chat.model, request, stream, include_usage)


def check_stream_options(options: StreamOptionsIn | None, *, stream: bool) -> bool:
    """Whether the count is wanted. Raises InvalidInput where there is no stream to have options."""
    if options is not None and not stream:
        message = "The parameter 'stream_options' is only for streams: 'stream' has to be true."
        raise InvalidInput(message, "invalid_value", ("stream_options",))
    return options is not None and bool(options.include_usage)


def _only(fields: Fields) -> dict[str, str]:
    """The fields that ask for what no other protocol has."""
    only = {}
    for name, raw in fields.items():
        if name in TRANSLATED or name in HINTS:
            continue
        value = msgspec.json.decode(raw)
        if value is not None and value not in USUAL.get(name, ()):
            only[name] = "unsupported_parameter" if name in DOCUMENTED else "unknown_parameter"
    return only


def _options(chat: ChatIn, only: dict[str, str]) -> Options:
    """In neutral words. What asks for what is usual anyway is not said: not every provider has the words."""
    return Options(
        tools=tuple(_tools(chat.tools or [], only)),
        tool_choice=None if chat.tool_choice is None else _tool_choice(chat.tool_choice, only),
        parallel_tool_calls=None if chat.parallel_tool_calls else chat.parallel_tool_calls,
        response_format=None if chat.response_format is None else _response_format(chat.response_format, only),
        reasoning_effort=chat.reasoning_effort,
        stop=(chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ()),
        seed=chat.seed,
        top_p=None if chat.top_p == 1 else chat.top_p,
        frequency_penalty=chat.frequency_penalty or None,
        presence_penalty=chat.presence_penalty or None,
    )


def _tools(tools: list[ToolIn], only: dict[str, str]) -> list[Tool]:
    made = []
    for number, tool in enumerate(tools):
        function = tool.function
        if function is None:
            only[f"tools[{number}]"] = "unsupported_value"
        else:
            made.append(Tool(function.name, function.description or "", function.parameters, function.strict))
    return made


def _tool_choice(choice: str | ToolChoiceIn, only: dict[str, str]) -> ToolChoice | None:
    if isinstance(choice, ToolChoiceIn):
        if choice.function is not None:
            return ToolChoice("named", choice.function.name)
    else:
        for mode in _MODES:
            if choice == mode:
                return ToolChoice(mode)
    only["tool_choice"] = "unsupported_value"
    return None


def _response_format(wanted: ResponseFormatIn, only: dict[str, str]) -> ResponseFormat | None:
    schema = wanted.json_schema
    if wanted.type == "json_schema" and schema is not None:
        return ResponseFormat("json_schema", schema.name, schema.schema, schema.description or "", schema.strict)
    if wanted.type == "json_object":
        return ResponseFormat("json_object")
    if wanted.type != "text":
        only["response_format"] = "unsupported_value"
    return None
