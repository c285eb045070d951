"""Answers in Anthropic's words: whole ones, counts, and what both forms share."""

from collections.abc import Mapping
from typing import Any

import msgspec

from domain.usage import Usage
from services.stored_completions import AnyCompletion

STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def whole_answer(completion: AnyCompletion) -> bytes:
    """The message that a completion has come to: the provider's own if it speaks the protocol, else ours."""
    tally = completion.tally
    if tally.wire is not None:
        return under_public_name(tally.wire, completion)
    message = {
        **head(completion),
        "content": _content(completion),
        "stop_reason": STOP_REASONS[tally.finish_reason or "stop"],
        "stop_sequence": None,
        "usage": usage_object(completion.usage),
    }
    return msgspec.json.encode(message)


def head(completion: AnyCompletion) -> dict[str, Any]:
    """What a message of ours begins with."""
    identity = f"msg_{completion.id.removeprefix('gen_')}"
    return {"id": identity, "type": "message", "role": "assistant", "model": completion.public_model}


def usage_object(usage: Usage | None) -> dict[str, int]:
    """Counts as the protocol has them: what came out of a cache is no part of ``input_tokens``."""
    usage = usage or Usage(0, 0)
    return {
        "input_tokens": usage.prompt_tokens - min(usage.cached_tokens, usage.prompt_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": min(usage.cached_tokens, usage.prompt_tokens),
        "output_tokens": usage.completion_tokens,
    }


def under_public_name(message: bytes, completion: AnyCompletion) -> bytes:
    """A message of the provider's, byte for byte but for the model's name where the client knows it by another."""
    answering = completion.upstream.answering
    if answering is None or answering.choice.model.name == completion.public_model:
        return message
    members = _decode_members(message)
    members["model"] = msgspec.Raw(msgspec.json.encode(completion.public_model))
    return msgspec.json.encode(members)


def input_of(arguments: str) -> Any:
    """The arguments of a call as the object that the protocol wants; what is none (a cut one), under a name."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def call_id(given: str, number: int, completion: AnyCompletion) -> str:
    """The call's own id, or one of ours where the provider gave none: its result has to name it."""
    return given or f"toolu_{completion.id.removeprefix('gen_')}_{number}"


def _content(completion: AnyCompletion) -> list[dict[str, Any]]:
    tally = completion.tally
    text = tally.text + "".join(f"\n![{image.alt}]({image.url})" for image in tally.images)
    blocks: list[dict[str, Any]] = []
    if tally.reasoning:
        blocks.append({"type": "thinking", "thinking": tally.reasoning, "signature": ""})
    if text:
        blocks.append({"type": "text", "text": text})
    for number, call in enumerate(tally.tool_calls):
        identity = call_id(call.id, number, completion)
        blocks.append({"type": "tool_use", "id": identity, "name": call.name, "input": input_of(call.arguments)})
    return blocks
