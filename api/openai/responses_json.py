"""A response as OpenAI's clients expect it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from domain.generation import EndReason, GenerationStatus
from domain.messages import Image, Message, Part, Reasoning, ToolCall, open_calls, text_of
from domain.usage import Usage
from services.response_service import StoredResponse

Json = dict[str, Any]
encode = msgspec.json.Encoder().encode

_STATUS = {
    GenerationStatus.RUNNING: "in_progress",
    GenerationStatus.COMPLETED: "completed",
    GenerationStatus.STOPPED: "cancelled",
    GenerationStatus.FAILED: "failed",
    GenerationStatus.INTERRUPTED: "failed",
}
_INCOMPLETE = {EndReason.LENGTH: "max_output_tokens", EndReason.CONTENT_FILTER: "content_filter"}
# The protocol has a closed list of these codes: what is wrong with the prompt, too many requests, and all else.
_ERROR_CODES = {
    "provider_rate_limited": "rate_limit_exceeded",
    "provider_rejected": "invalid_prompt",
    "context_too_long": "invalid_prompt",
    "content_filtered": "invalid_prompt",
    "model_not_found": "invalid_prompt",
    "unsupported_input": "invalid_prompt",
    "unsupported_parameter": "invalid_prompt",
}
_INTERRUPTED = "The node that made this answer went down. Ask again."


def response_json(stored: StoredResponse) -> Json:
    """The response as it stands."""
    message = stored.message
    reason = _INCOMPLETE.get(message.end_reason) if message.end_reason else None
    request = {name: value for name, value in stored.request.items() if name != "input"}
    completed = message.status is GenerationStatus.COMPLETED and not reason
    shown: Json = {
        "id": stored.id,
        "object": "response",
        "created_at": int(stored.created_at.timestamp()),
        "status": "incomplete" if reason else _STATUS[message.status],
        "background": stored.background,
        "completed_at": int(stored.finished_at.timestamp()) if completed and stored.finished_at else None,
        "error": _error(stored),
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output_of(stored.id, message),
        "previous_response_id": stored.previous_response_id,
        **request,
    }
    return shown if message.usage is None else shown | {"usage": _usage(message.usage)}


def as_begun(stored: StoredResponse) -> StoredResponse:
    """The response as it was before anything was said: the same whenever it is looked at."""
    empty: Json = {"content": "", "parts": [], "end_reason": None, "error_code": None, "usage": None}
    message = msgspec.structs.replace(stored.message, status=GenerationStatus.RUNNING, **empty)
    return replace(stored, message=message, error_message=None, finished_at=None)


def _error(stored: StoredResponse) -> Json | None:
    message = stored.message
    if message.status is GenerationStatus.INTERRUPTED:
        return {"code": "server_error", "message": _INTERRUPTED}
    if message.status is not GenerationStatus.FAILED:
        return None
    code = _ERROR_CODES.get(message.error_code or "", "server_error")
    return {"code": code, "message": stored.error_message or "The provider failed."}


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


# What was said


def output_of(response_id: str, message: Message) -> list[Json]:
    """The items of an answer, in the order in which they are streamed."""
    suffix, parts = response_id.removeprefix("resp_"), message.parts
    items = []
    if thoughts := [part.text for part in parts if isinstance(part, Reasoning)]:
        items.append(reasoning_item(suffix, "".join(thoughts)))
    if contents := contents_of(parts):
        items.append(message_item(suffix, contents, _item_status(message)))
    return items + [call_item(suffix, number, call) for number, call in enumerate(open_calls(parts))]


def _item_status(message: Message) -> str:
    if message.status is GenerationStatus.RUNNING:
        return "in_progress"
    whole = message.status is GenerationStatus.COMPLETED and message.end_reason not in _INCOMPLETE
    return "completed" if whole else "incomplete"


def contents_of(parts: Sequence[Part]) -> list[str]:
    """The texts of an answer's message: what it says, and then a text that shows it for each picture."""
    said = text_of(parts)
    shown = [f"![{part.alt}]({part.url})" for part in parts if isinstance(part, Image)]
    return [said, *shown] if said else shown


def reasoning_item(suffix: str, text: str) -> Json:
    """What the model thought; nothing while it begins to."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": f"rs_{suffix}", "type": "reasoning", "summary": summary}


def message_item(suffix: str, texts: Sequence[str], status: str) -> Json:
    """What it said."""
    content = [text_content(text) for text in texts]
    return {"id": f"msg_{suffix}", "type": "message", "status": status, "role": "assistant", "content": content}


def text_content(text: str) -> Json:
    """One text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(suffix: str, number: int, call: ToolCall, *, complete: bool = True) -> Json:
    """The call of a function; without its arguments while it begins."""
    return {
        "id": f"fc_{suffix}_{number}",
        "type": "function_call",
        "status": "completed" if complete else "in_progress",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments if complete else "",
    }
