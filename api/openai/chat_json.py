"""The JSON of a chat completion that is made of neutral deltas, whole and event by event."""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.deltas import ImageDelta, ReasoningDelta, Replacement, Said, TextDelta, ToolCallDelta, ToolOutcome
from domain.messages import ToolCall
from domain.usage import Usage
from services.stored_completions import AnyCompletion

encode = msgspec.json.Encoder().encode


class EventTemplate:
    """Writes events that differ in little: ``fields`` come first in each of them."""

    kind = "chat.completion.chunk"
    prefix = "chatcmpl-"  # of ids
    _opening = b',"choices":[{"index":0,"delta":'
    _nothing = b"{}"

    def __init__(self, fields: dict[str, Any], *, with_usage: bool) -> None:
        self._head = b"data: " + encode(fields)[:-1]
        self._open = self._head + self._opening
        self._no_usage = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._close = b',"logprobs":null,"finish_reason":null}]' + self._no_usage

    def first(self) -> bytes:
        """What goes before the first word."""
        return self._event(b'{"role":"assistant","content":"","refusal":null}')

    def said(self, delta: Said, *, first_of_call: bool) -> bytes:
        """The event for something new."""
        return self._event(delta_json(delta, first_of_call=first_of_call))

    def _event(self, new: bytes) -> bytes:
        return self._open + new + self._close

    def finish(self, reason: str) -> bytes:
        """The event that says why it is over."""
        ending = b',"logprobs":null,"finish_reason":"%s"}]' % reason.encode()
        return self._open + self._nothing + ending + self._no_usage

    def usage(self, usage: Usage) -> bytes:
        """The last one, for those who want to know."""
        return self._head + b',"choices":[],"usage":' + encode(usage_json(usage)) + b"}\n\n"


def delta_json(delta: Said, *, first_of_call: bool = False) -> bytes:
    """What is new, as the protocol's delta. Pictures become text that shows them."""
    match delta:
        case TextDelta(text=text) | Replacement(text=text):
            return b'{"content":' + encode(text) + b"}"
        case ReasoningDelta(text=text):
            return b'{"reasoning_content":' + encode(text) + b"}"
        case ImageDelta(url=url, alt=alt):
            return b'{"content":' + encode(picture(url, alt)) + b"}"
        case ToolCallDelta(index=index, id=identity, name=name, arguments=arguments):
            function = {"name": name, "arguments": arguments} if first_of_call else {"arguments": arguments}
            named = {"id": identity, "type": "function"} if first_of_call else {}
            return encode({"tool_calls": [{"index": index, **named, "function": function}]})


def picture(url: str, alt: str) -> str:
    """A picture in text."""
    return f"![{alt}]({url})"


def usage_json(usage: Usage) -> dict[str, Any]:
    """The count."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def whole_json(completion: AnyCompletion) -> bytes:
    """The whole answer, once it is there."""
    tally = completion.tally
    calls = tally.tool_calls
    text = tally.text + "".join(picture(image.url, image.alt) for image in tally.images)
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if tally.reasoning:
        message["reasoning_content"] = tally.reasoning
    if calls:
        message["tool_calls"] = _calls_json(calls)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": tally.finish_reason or "stop"}
    body = {
        "id": EventTemplate.prefix + completion.id.removeprefix("gen_"),
        "object": "chat.completion",
        "created": completion.created,
        "model": completion.public_model,
        "choices": [choice],
    }
    if tally.outcomes:
        body["server_tool_calls"] = [outcome_json(outcome) for outcome in tally.outcomes]
    if completion.usage is not None:
        body["usage"] = usage_json(completion.usage)
    return encode(body)


def outcome_json(outcome: ToolOutcome) -> dict[str, str]:
    """What a tool of the server was asked, and what it answered."""
    return {"id": outcome.id, "name": outcome.name, "arguments": outcome.arguments, "content": outcome.content}


def _calls_json(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]


def with_model(data: bytes, public_model: str) -> bytes:
    """An event, or a whole answer, of a provider that calls the model by another name than the client does."""
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if "model" in fields:
        fields["model"] = msgspec.Raw(encode(public_model))
    return encode(fields)


def native_body(completion: AnyCompletion) -> bytes | None:
    """The provider's own answer, if it speaks the protocol: its bytes, but for the model's name where that differs."""
    body, answering = completion.tally.wire, completion.upstream.answering
    if body is None or answering is None:
        return None
    return body if answering.choice.model.name == completion.public_model else with_model(body, completion.public_model)
