"""What OpenAI's API has beside chats: pictures, moderation, and answers to bare prompts."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from .answer import split_tokens
from .openai_wire import DONE, OpenAIWire, usage_object
from .wire import Frame, encode, sse

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
FLAGGED = "violence"
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def images_body(request: dict[str, Any]) -> bytes:
    """POST /images/generations: `n` pictures of one pixel, linked or in base64 as `response_format` says."""
    prompt = str(request.get("prompt") or "")
    one = {"url": "https://images.example/1.png"} if request.get("response_format") == "url" else {"b64_json": PIXEL}
    count, tokens = int(request.get("n") or 1), len(split_tokens(prompt))
    usage = {
        "input_tokens": tokens,
        "output_tokens": 10 * count,
        "total_tokens": tokens + 10 * count,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
    }
    return encode({"created": 1_700_000_000, "data": [one] * count, "usage": usage})


def moderations_body(request: dict[str, Any]) -> bytes:
    """POST /moderations: a text with the word "violence" in it is flagged for that."""
    given = request.get("input")
    texts = [str(text) for text in given] if isinstance(given, list) else [str(given or "")]
    model = request.get("model") or "omni-moderation-latest"
    return encode({"id": "modr-scripted", "model": model, "results": [_judged(text) for text in texts]})


def _judged(text: str) -> dict[str, Any]:
    flagged = FLAGGED in text
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == FLAGGED for name in CATEGORIES},
        "category_scores": {name: 0.9 if flagged and name == FLAGGED else 0.0 for name in CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }


class CompletionWire(OpenAIWire):
    """POST /completions: the answer to a bare prompt."""

    def frames(self) -> Iterator[Frame]:
        """Text, finish, usage, [DONE]."""
        for piece in self.answer.pieces:
            yield self.delta(piece.text)
        yield Frame(sse(self._completion("", self.answer.finish_reason)), kind="finish")
        if self._usage_chunk and self.answer.usage:
            counted = {**self._completion("", None), "choices": [], "usage": usage_object(self.answer.usage)}
            yield Frame(sse(counted), "", "usage", self.counts())
        yield DONE

    def delta(self, text: str) -> Frame:
        """A piece of the text."""
        return Frame(sse(self._completion(text, None)), text)

    def body(self) -> bytes:
        """The text_completion object."""
        body = self._completion(self.answer.text(), self.answer.finish_reason)
        if self.answer.usage:
            body["usage"] = usage_object(self.answer.usage)
        return encode(body)

    def _completion(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return {**self._meta, "object": "text_completion", "choices": [choice]}
