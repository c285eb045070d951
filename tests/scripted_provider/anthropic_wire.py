"""Anthropic's Messages, as the real service writes its answers, events and errors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from .answer import Answer, Usage, arguments_of, call_id, count_tokens, message_text, split_tokens
from .wire import Counts, Frame, Wire, encode

VERSIONS = ("2023-06-01", "2026-10-21")
SAMPLING = ("temperature", "top_p", "top_k")  # that the newer version does not have any more
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
START = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
DELTA = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


class AnthropicWire(Wire):
    """One message. `cached` are the prompt's tokens that come out of its cache; `stop_sequence` what ended it."""

    keepalive = PING

    def __init__(self, answer: Answer, model: str, request_id: str, *, stream: bool, cached: int = 0) -> None:
        self.answer = answer
        self.stream = stream
        self.deltas = len(answer.pieces) + len(answer.tool_fragments())
        self._cached = cached
        self._index = -1
        self._head = {"id": f"msg_{request_id}", "type": "message", "role": "assistant", "model": model}

    def frames(self) -> Iterator[Frame]:
        """The message's start, its blocks one after another, why it ends, and its end."""
        message: dict[str, Any] = self._head | {"content": [], "stop_reason": None, "stop_sequence": None}
        yield Frame(_event("message_start", message=message | self._usage(1)), kind="meta")
        yield Frame(PING, kind="meta")
        kind = ""
        for number, piece in enumerate(self.answer.pieces):
            now = "thinking" if piece.kind == "reasoning" else "text"
            if now != kind:
                yield from self._closed(kind)
                yield self._opened({"type": now, **START[now]})
                kind = now
            if self.answer.script.ping_every and number % self.answer.script.ping_every == 0:
                yield Frame(PING, kind="meta")
            yield self._piece(kind, piece.text)
        yield from self._closed(kind)
        yield from self._calls()
        ending = {"stop_reason": self._stop_reason(), "stop_sequence": self.answer.script.stop_sequence}
        yield Frame(_event("message_delta", delta=ending, **self._usage()), "", "finish", self.counts())
        yield Frame(_event("message_stop"), kind="done")

    def delta(self, text: str) -> Frame:
        """More text of the block under way."""
        return self._piece("text", text)

    def body(self) -> bytes:
        """The message object."""
        content: list[dict[str, Any]] = []
        if thought := self.answer.text("reasoning"):
            content.append({"type": "thinking", "thinking": thought, "signature": signature(thought)})
        if text := self.answer.text():
            content.append({"type": "text", "text": text})
        content += [
            {"type": "tool_use", "id": call_id(call, index), "name": call.name, "input": _parsed(arguments_of(call))}
            for index, call in enumerate(self.answer.tool_calls)
        ]
        ending = {"stop_reason": self._stop_reason(), "stop_sequence": self.answer.script.stop_sequence}
        return encode(self._head | {"content": content, **ending, **self._usage()})

    def error_event(self, code: str, message: str) -> bytes:
        """An `error` event, or the error object in place of the message."""
        # The usual text says nothing of a code of its own, which is all in the text here.
        body = error_object(500, code, "" if message == USUAL else message, "")
        return _named("error", body) if self.stream else encode(body)

    def text(self) -> str:
        """The answer text of the whole body."""
        return self.answer.text()

    def counts(self) -> Counts | None:
        """The counts under Anthropic's names."""
        usage = self.answer.usage
        return None if usage is None else usage_object(usage, self._cached)

    def _usage(self, output: int | None = None) -> dict[str, Any]:
        counts = self.counts()
        if counts is None:
            return {}
        return {"usage": counts if output is None else counts | {"output_tokens": min(output, counts["output_tokens"])}}

    def _stop_reason(self) -> str:
        if self.answer.script.stop_sequence is not None:
            return "stop_sequence"
        return STOP_REASONS.get(self.answer.finish_reason, self.answer.finish_reason)

    def _opened(self, block: dict[str, Any]) -> Frame:
        self._index += 1
        return Frame(_event("content_block_start", index=self._index, content_block=block), kind="meta")

    def _closed(self, kind: str) -> Iterator[Frame]:
        if not kind:
            return
        if kind == "thinking":
            signed = {"type": "signature_delta", "signature": signature(self.answer.text("reasoning"))}
            yield Frame(_event("content_block_delta", index=self._index, delta=signed), kind="meta")
        yield Frame(_event("content_block_stop", index=self._index), kind="meta")

    def _piece(self, kind: str, text: str) -> Frame:
        name, member = DELTA[kind]
        delta = {"type": name, member: text}
        event = _event("content_block_delta", index=max(self._index, 0), delta=delta)
        return Frame(event, text if kind == "text" else "")

    def _calls(self) -> Iterator[Frame]:
        called = False
        for fragment in self.answer.tool_fragments():
            if fragment.name:
                if called:
                    yield Frame(_event("content_block_stop", index=self._index), kind="meta")
                called = True
                block = {"type": "tool_use", "id": fragment.id, "name": fragment.name, "input": {}}
                yield self._opened(block)._replace(kind="delta")
            else:
                delta = {"type": "input_json_delta", "partial_json": fragment.arguments}
                yield Frame(_event("content_block_delta", index=self._index, delta=delta))
        if called:
            yield Frame(_event("content_block_stop", index=self._index), kind="meta")


def signature(thought: str) -> str:
    """What the service signs a thinking block with: it takes back its own only, and unchanged."""
    return "sig_" + hashlib.sha256(thought.encode()).hexdigest()[:32]


def usage_object(usage: Usage, cached: int) -> Counts:
    """The usage object: what came out of the cache is not in `input_tokens`."""
    cached = min(cached, usage.prompt)
    return {
        "input_tokens": usage.prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion,
    }


def prompt_tokens(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens of the messages and the system prompt; and how many of them are cached, if any block asks for it."""
    system = len(split_tokens(message_text(body.get("system"))))
    cached = system if b'"cache_control"' in encode(body) else 0
    return system + count_tokens(body.get("messages") or []), cached


def fault_of(body: dict[str, Any], version: str) -> str:
    """What the service finds wrong in a request, in its words; empty if nothing."""
    if version not in VERSIONS:
        return "anthropic-version: header is required" if not version else f"anthropic-version: {version} is unknown"
    removed = [name for name in SAMPLING if name in body and version != VERSIONS[0]]
    if removed:
        return f"{removed[0]}: Extra inputs are not permitted"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    return _fault_in(messages)


def _fault_in(messages: list[Any]) -> str:
    asked: set[str] = set()
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        if message.get("role") not in ("user", "assistant", "system"):
            return f'{place}.role: Input should be "user" or "assistant"'
        blocks = message.get("content")
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        answered = {block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"}
        if asked - answered:
            return f"{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {asked}"
        if answered - asked:
            return f"{place}: unexpected `tool_use_id` found in `tool_result` blocks: {answered - asked}"
        for block in blocks:
            if block.get("type") == "text" and not block.get("text"):
                return f"{place}: text content blocks must be non-empty"
            if block.get("type") == "thinking" and block.get("signature") != signature(block.get("thinking", "")):
                return f"{place}: Invalid `signature` in `thinking` block"
        asked = {block["id"] for block in blocks if block.get("type") == "tool_use"}
    return ""


TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
NAMED = {  # neutral error name -> type and message
    "context_length_exceeded": ("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
    "content_filter": ("invalid_request_error", "Output blocked by content filtering policy"),
    "model_not_found": ("not_found_error", "model: no such model"),
    "insufficient_quota": (
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
    ),
    "server_error": ("api_error", "Internal server error"),
    "bad_script": ("invalid_request_error", "The script cannot be read."),
}
USUAL = "The server had an error while processing your request."
MESSAGES = {429: "This request would exceed your rate limit.", 529: "Overloaded"}


def error_object(status: int, name: str, message: str, request_id: str) -> dict[str, Any]:
    """The error body. A name that is not known becomes the type as it is."""
    usual = TYPES.get(status, "api_error" if status >= 500 else TYPES[400])
    kind, text = NAMED.get(name, (name or usual, MESSAGES.get(status, "The request cannot be served.")))
    error = {"type": kind, "message": message or text}
    return {"type": "error", "error": error, "request_id": request_id or None}


def _parsed(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _event(name: str, **fields: Any) -> bytes:
    return _named(name, {"type": name, **fields})


def _named(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(value))
