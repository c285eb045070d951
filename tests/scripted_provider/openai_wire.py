"""OpenAI's chat completions, embeddings and models, as its own API answers them."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
import time
from collections.abc import Iterator
from typing import Any

from .answer import Answer, Piece, Usage, arguments_of, call_id, split_tokens
from .openai_choices import ONE, Choices
from .wire import Counts, Frame, Kind, Wire, encode, sse

FINGERPRINT = "fp_scripted"
DONE = Frame(b"data: [DONE]\n\n", kind="done")


def prompt_counts(usage: Usage | None) -> Counts | None:
    """The three counts as OpenAI and Dify name them."""
    if usage is None:
        return None
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.total}


def usage_object(usage: Usage) -> dict[str, Any]:
    """The usage object with its details, as newer models send it."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


class OpenAIWire(Wire):
    """One chat completion. `include_usage` is the request's stream_options, `choices` are the answers it wants."""

    def __init__(
        self,
        answer: Answer,
        model: str,
        request_id: str,
        stream: bool,
        include_usage: bool,
        choices: Choices = ONE,
    ) -> None:
        self.answer = choices.paid(answer)
        self.stream = stream
        self._choices = choices
        self.deltas = (len(answer.pieces) + len(answer.tool_fragments())) * choices.count
        self._usage_chunk = answer.usage is not None and (include_usage or answer.usage_unasked)
        self._meta = {
            "id": f"chatcmpl-{request_id}",
            "created": int(time.time()),
            "model": model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        # Text deltas are nearly all of a stream: their constant bytes are rendered once.
        blank = sse(self._chunk({"content": ""}, None))
        before, _, after = blank.partition(b'"content":""')
        self._before, self._after = before + b'"content":', after

    def frames(self) -> Iterator[Frame]:
        """Role, reasoning, text, tool calls, finish, usage, [DONE]."""
        yield from self._each({"role": "assistant", "content": "", "refusal": None}, kind="meta")
        for piece in self.answer.pieces:
            yield from self._piece(piece)
        for fragment in self.answer.tool_fragments():
            call: dict[str, Any] = {"index": fragment.number, "function": {"arguments": fragment.arguments}}
            if fragment.name:
                function = {"name": fragment.name, "arguments": ""}
                call = {"index": fragment.number, "id": fragment.id, "type": "function", "function": function}
            yield from self._each({"tool_calls": [call]})
        yield from self._each({}, self.answer.finish_reason, "finish")
        if self._usage_chunk and self.answer.usage:
            yield Frame(sse(self._envelope([], usage_object(self.answer.usage))), "", "usage", self.counts())
        yield DONE

    def delta(self, text: str) -> Frame:
        """A content delta."""
        return Frame(self._before + encode(text) + self._after, text)

    def body(self) -> bytes:
        """The chat.completion object."""
        message: dict[str, Any] = {"role": "assistant", "content": self.answer.text() or None, "refusal": None}
        if not self.answer.tool_calls:
            message["content"] = self.answer.text()
        if reasoning := self.answer.text("reasoning"):
            message["reasoning_content"] = reasoning
        if self.answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call_id(call, index),
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments_of(call)},
                }
                for index, call in enumerate(self.answer.tool_calls)
            ]
        if self.answer.script.refusal:
            message |= {"content": None, "refusal": self.answer.text()}
        logprobs = self._choices.logprobs(piece.text for piece in self.answer.pieces if piece.kind == "text")
        choice = {"message": message, "logprobs": logprobs, "finish_reason": self.answer.finish_reason}
        choices = [{"index": index, **choice} for index in range(self._choices.count)]
        body = {**self._meta, "object": "chat.completion", "choices": choices}
        if self.answer.usage:
            body["usage"] = usage_object(self.answer.usage)
        return encode(body)

    def error_event(self, code: str, message: str) -> bytes:
        """The error object that compatible servers send inside a 200."""
        error = {"error": {"message": message, "type": "server_error", "param": None, "code": code}}
        return sse(error) if self.stream else encode(error)

    def text(self) -> str:
        """The answer text of the whole body."""
        return self.answer.text()

    def counts(self) -> Counts | None:
        """prompt_tokens, completion_tokens, total_tokens."""
        return prompt_counts(self.answer.usage)

    def _piece(self, piece: Piece) -> Iterator[Frame]:
        if piece.kind == "reasoning":
            yield from self._each({"content": None, "reasoning_content": piece.text})
        elif self.answer.script.refusal:
            yield from self._each({"refusal": piece.text}, text=piece.text)
        elif self._choices is ONE:
            yield self.delta(piece.text)
        else:
            logprobs = self._choices.logprobs([piece.text])
            yield from self._each({"content": piece.text}, text=piece.text, logprobs=logprobs)

    def _each(
        self,
        delta: dict[str, Any],
        finish: str | None = None,
        kind: Kind = "delta",
        text: str = "",
        logprobs: Any = None,
    ) -> Iterator[Frame]:
        """The same event for every answer that is wanted; the text of the first counts as sent."""
        for index in range(self._choices.count):
            choice = {"index": index, "delta": delta, "finish_reason": finish}
            told = choice if logprobs is None else {**choice, "logprobs": logprobs}
            yield Frame(sse(self._envelope([told], None)), "" if index else text, kind)

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        return self._envelope([{"index": 0, "delta": delta, "finish_reason": finish_reason}], None)

    def _envelope(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        chunk = {**self._meta, "object": "chat.completion.chunk", "choices": choices}
        if self._usage_chunk:
            chunk["usage"] = usage
        return chunk


def models_body(names: list[str]) -> bytes:
    """GET /models."""
    return encode({"object": "list", "data": [model_object(name) for name in names]})


def model_object(name: str) -> dict[str, Any]:
    """One model, as in the list."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"}


def embeddings_body(request: dict[str, Any]) -> bytes:
    """POST /embeddings: unit vectors, equal for equal texts and near for texts that share words."""
    given = request.get("input")
    texts = [str(text) for text in given] if isinstance(given, list) else [str(given or "")]
    size = int(request.get("dimensions") or 256)
    as_base64 = request.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector = embed(text, size)
        embedding = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = sum(len(split_tokens(text)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"object": "list", "data": data, "model": request.get("model", ""), "usage": usage})


def embed(text: str, size: int) -> list[float]:
    """A hashed bag of words of length 1; a text without words gets the first axis."""
    vector = [0.0] * size
    for token in split_tokens(text.lower()):
        digest = hashlib.sha256(token.strip(" .,;:!?\n").encode()).digest()
        vector[int.from_bytes(digest[:4]) % size] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        return [1.0] + [0.0] * (size - 1)
    return [value / length for value in vector]
