"""DashScope's native generation protocol as it goes over the wire, both ways."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters.failures import Codes, decode_or_fail
from adapters.model_catalog import Quirks
from adapters.openai_request import Fields, wire_choice, wire_messages, wire_tool
from adapters.openai_wire import Answer, ToolCallFragment
from adapters.said import Saying
from adapters.sse import ServerEvent
from domain.chat import ChatRequest, Options
from domain.errors import ContentFiltered, ModelNotFound, ProviderDenied, ProviderRateLimited, ProviderUnavailable
from domain.usage import Usage

CODES: Codes = {
    "invalidapikey": ProviderDenied,
    "accessdenied": ProviderDenied,
    "access_denied": ProviderDenied,
    "arrearage": ProviderDenied,
    "allocationquota": ProviderDenied,
    "commoditynotpurchased": ProviderDenied,
    "throttling": ProviderRateLimited,
    "limit_requests": ProviderRateLimited,
    "limit_burst_rate": ProviderRateLimited,
    "datainspectionfailed": ContentFiltered,
    "data_inspection_failed": ContentFiltered,
    "modelnotfound": ModelNotFound,
    "internalerror": ProviderUnavailable,
    "internal_error": ProviderUnavailable,
    "modelservingerror": ProviderUnavailable,
    "modelunavailable": ProviderUnavailable,
    "requesttimeout": ProviderUnavailable,
    "responsetimeout": ProviderUnavailable,
    "serviceunavailableerror": ProviderUnavailable,
    "systemerror": ProviderUnavailable,
}

TAKES = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_budget",
        "stop",
        "seed",
        "top_p",
        "top_k",
        "presence_penalty",
    }
)


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallFragment] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None


class _Output(msgspec.Struct):
    choices: list[_Choice] | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def neutral(self) -> Usage:
        cached = self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens
        thought = self.output_tokens_details and self.output_tokens_details.reasoning_tokens
        return Usage(self.input_tokens, self.output_tokens, cached_tokens=cached or 0, reasoning_tokens=thought or 0)


class _Result(msgspec.Struct):
    output: _Output | None = None
    usage: _Usage | None = None
    code: str | None = None


_decode = msgspec.json.Decoder(_Result).decode


class QwenAnswer(Answer):
    """Reads one streamed answer. Its end marker is an event whose finish reason is not the word ``null``."""

    def read(self, event: ServerEvent, saying: Saying) -> None:
        """Read one event; every one has the count so far, and the last one counts."""
        if event.name.strip() == "error":
            raise self.failures.from_event(event.data)
        result: _Result = decode_or_fail(_decode, event.data, self.failures)
        if result.output is None or result.code:
            raise self.failures.from_event(event.data)
        if result.usage:
            self.usage = result.usage.neutral()
        for choice in (result.output.choices or ())[:1]:
            if choice.message:
                self._message(choice.message, saying)
            if choice.finish_reason and choice.finish_reason != "null":
                self.finished(choice.finish_reason)

    def _message(self, message: _Message, saying: Saying) -> None:
        if message.reasoning_content:
            saying.reasoning(message.reasoning_content)
        content = message.content
        text = content if isinstance(content, str) else "".join(part.text or "" for part in content or ())
        if text:
            saying.text(text)
        if message.tool_calls:
            self.tool_calls(message.tool_calls, saying)


def native_body(
    request: ChatRequest, model: str, quirks: Quirks, multimodal: bool, parameters: Mapping[str, Any]
) -> bytes:
    """The JSON of a streamed request. ``parameters`` win over ours; one that is ``None`` is left out."""
    messages = wire_messages(request, quirks)
    own = {
        "result_format": "message",
        "incremental_output": True,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        **_option_parameters(request.options),
        **parameters,
    }
    body = {
        "model": model,
        "input": {"messages": [_in_parts(message) for message in messages] if multimodal else messages},
        "parameters": {name: value for name, value in own.items() if value is not None},
    }
    return msgspec.json.encode(body)


def _option_parameters(options: Options) -> Fields:
    budget = options.reasoning_budget
    return {
        "tools": [wire_tool(tool) for tool in options.tools] or None,
        "tool_choice": options.tool_choice and wire_choice(options.tool_choice),
        "parallel_tool_calls": options.parallel_tool_calls,
        "response_format": options.response_format and {"type": options.response_format.kind},
        "enable_thinking": None if budget is None else True,
        "thinking_budget": budget,
        "stop": list(options.stop) or None,
        "seed": options.seed,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "presence_penalty": options.presence_penalty,
    }


def _in_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """The same message as the multimodal service takes it: the content is always a list."""
    content: str | Sequence[Mapping[str, Any]] = message["content"] or ""
    if isinstance(content, str):
        return {**message, "content": [{"text": content}] if content else []}
    return {**message, "content": [_part(part) for part in content]}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"image": part["image_url"]["url"]} if part["type"] == "image_url" else {"text": part["text"]}
