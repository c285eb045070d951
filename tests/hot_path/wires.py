"""The bytes of providers' answers, in as many pieces as events; every event says which one it is."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

JSON, EVENTS = b"application/json", b"text/event-stream"


def word(number: int) -> str:
    """What the event of this number says: as long for every number."""
    return f"word{number:04} "


def whole(body: bytes) -> bytes:
    """A response with its length."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (JSON, len(body), body)


def streamed_head() -> bytes:
    """How a response begins whose body comes in HTTP's own pieces."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n" % EVENTS


def piece(data: bytes) -> bytes:
    """One of those; the empty one ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Wire(ABC):
    """One protocol."""

    @abstractmethod
    def whole(self, text: str) -> bytes:
        """An answer that is no stream."""

    @abstractmethod
    def events(self, texts: Sequence[str]) -> tuple[bytes, list[bytes], bytes]:
        """What comes before the first text, an event for each, and what comes after the last."""


class OpenAI(Wire):
    """Chat completions."""

    def whole(self, text: str) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
        return _json(_chat("chat.completion", choices=[choice], usage=usage))

    def events(self, texts: Sequence[str]) -> tuple[bytes, list[bytes], bytes]:
        def event(delta: dict[str, str], reason: str | None = None, **more: Any) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return _data(_chat("chat.completion.chunk", **{"choices": [choice], **more}))

        usage = {"prompt_tokens": 10, "completion_tokens": len(texts), "total_tokens": 10 + len(texts)}
        last = event({}, "stop") + event({}, choices=[], usage=usage) + b"data: [DONE]\n\n"
        return event({"role": "assistant", "content": ""}), [event({"content": text}) for text in texts], last


class Anthropic(Wire):
    """Messages."""

    def whole(self, text: str) -> bytes:
        usage = {"input_tokens": 10, "output_tokens": 7}
        return _json(_message(content=[{"type": "text", "text": text}], stop_reason="end_turn", usage=usage))

    def events(self, texts: Sequence[str]) -> tuple[bytes, list[bytes], bytes]:
        def event(kind: str, **fields: Any) -> bytes:
            return b"event: %s\n%s" % (kind.encode(), _data({"type": kind, **fields}))

        usage = {"input_tokens": 10, "output_tokens": 1}
        message = _message(content=[], stop_reason=None, usage=usage)
        block = {"type": "text", "text": ""}
        first = event("message_start", message=message) + event("content_block_start", index=0, content_block=block)
        deltas = [{"type": "text_delta", "text": text} for text in texts]
        ending = {"stop_reason": "end_turn", "stop_sequence": None}
        last = event("content_block_stop", index=0)
        last += event("message_delta", delta=ending, usage={"output_tokens": len(texts)}) + event("message_stop")
        return first, [event("content_block_delta", index=0, delta=delta) for delta in deltas], last


def _chat(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1760000000, "model": "plain", **fields}


def _message(**fields: Any) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None, **fields}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _data(value: Any) -> bytes:
    return b"data: %s\n\n" % _json(value)
