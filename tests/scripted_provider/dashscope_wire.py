"""DashScope's native generation protocol, as the real service writes its events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from .answer import Answer, Usage, arguments_of, call_id, split_tokens
from .openai_wire import embed
from .wire import Counts, Frame, Wire, encode


class DashScopeWire(Wire):
    """One generation. `incremental` false repeats all the text so far in every event, as the service does.

    `multimodal` makes a message's content a list of parts; `as_message` is result_format "message".
    """

    keepalive = b":keepalive\n\n"
    end_marker = "finish"
    event_type = "text/event-stream;charset=UTF-8"

    def __init__(
        self, answer: Answer, *, request_id: str, stream: bool, incremental: bool, as_message: bool, multimodal: bool
    ) -> None:
        self.answer = answer
        self.stream = stream
        self.deltas = len(answer.pieces) + len(answer.tool_fragments())
        self._request_id = request_id
        self._incremental = incremental
        self._as_message = as_message or multimodal
        self._multimodal = multimodal
        self._sent = {"text": "", "reasoning": ""}
        self._tokens = {"text": 0, "reasoning": 0}
        self._events = 0

    def frames(self) -> Iterator[Frame]:
        """Reasoning, text, tool calls, and a last event with the finish reason."""
        for piece in self.answer.pieces:
            yield self._piece(piece.kind, piece.text)
        calls: list[dict[str, Any]] = []
        for fragment in self.answer.tool_fragments():
            if fragment.name:
                calls.append(_call(fragment.number, fragment.id, fragment.name, ""))
                new = calls[-1]
            else:
                calls[-1]["function"]["arguments"] += fragment.arguments
                new = _call(fragment.number, "", "", fragment.arguments)
            tool_calls = [new] if self._incremental else calls
            yield self._event(self._output("", "", "null", tool_calls), "delta")
        text, reasoning = ("", "") if self._incremental else (self._sent["text"], self._sent["reasoning"])
        final = self._output(text, reasoning, self.answer.finish_reason, [] if self._incremental else calls)
        yield self._event(final, "finish")

    def delta(self, text: str) -> Frame:
        """An event with more answer text."""
        return self._piece("text", text)

    def body(self) -> bytes:
        """The answer of a call without SSE."""
        calls = [
            _call(index, call_id(call, index), call.name, arguments_of(call))
            for index, call in enumerate(self.answer.tool_calls)
        ]
        text, reasoning = self.answer.text(), self.answer.text("reasoning")
        output = self._output(text, reasoning, self.answer.finish_reason, calls)
        return encode(self._envelope(output, self.answer.usage))

    def error_event(self, code: str, message: str) -> bytes:
        """An `event:error`, or the error as a body."""
        error = {"code": code, "message": message, "request_id": self._request_id}
        if not self.stream:
            return encode(error)
        self._events += 1
        return b"id:%d\nevent:error\n:HTTP_STATUS/500\ndata:%b\n\n" % (self._events, encode(error))

    def text(self) -> str:
        """The answer text of the whole body."""
        return self.answer.text()

    def counts(self) -> Counts | None:
        """input_tokens, output_tokens, total_tokens at the end; before it every event has the counts so far."""
        usage = self.answer.usage
        return None if usage is None else _counts(usage)

    def _piece(self, kind: str, text: str) -> Frame:
        self._sent[kind] += text
        self._tokens[kind] += len(split_tokens(text))
        shown = {"text": "", "reasoning": ""} | ({kind: text} if self._incremental else self._sent)
        output = self._output(shown["text"], shown["reasoning"], "null", [])
        return self._event(output, "delta", text if kind == "text" else "")

    def _event(self, output: dict[str, Any], kind: Literal["delta", "finish"], text: str = "") -> Frame:
        self._events += 1
        usage = self._usage(kind == "finish")
        data = encode(self._envelope(output, usage))
        event = b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%b\n\n" % (self._events, data)
        return Frame(event, text, kind, None if usage is None else _counts(usage))

    def _usage(self, last: bool) -> Usage | None:
        usage = self.answer.usage
        if usage is None or last:
            return usage
        completion = min(usage.completion, sum(self._tokens.values()))
        return Usage(usage.prompt, completion, min(usage.reasoning, self._tokens["reasoning"]))

    def _envelope(self, output: dict[str, Any], usage: Usage | None) -> dict[str, Any]:
        envelope: dict[str, Any] = {"output": output}
        if usage is not None:
            envelope["usage"] = dict(_counts(usage))
            if self.answer.usage and self.answer.usage.reasoning:
                envelope["usage"]["output_tokens_details"] = {"reasoning_tokens": usage.reasoning}
        return envelope | {"request_id": self._request_id}

    def _output(self, text: str, reasoning: str, finish: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        if not self._as_message:
            return {"text": text, "finish_reason": finish}
        content: Any = ([{"text": text}] if text else []) if self._multimodal else text
        message: dict[str, Any] = {"content": content, "role": "assistant"}
        if self._sent["reasoning"] or reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        return {"choices": [{"message": message, "finish_reason": finish}]}


def _call(index: int, call: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"index": index, "id": call, "type": "function", "function": function}


def _counts(usage: Usage) -> Counts:
    return {"input_tokens": usage.prompt, "output_tokens": usage.completion, "total_tokens": usage.total}


def dashscope_embeddings(request: dict[str, Any]) -> bytes:
    """POST /services/embeddings/text-embedding/text-embedding: the vectors that OpenAI's route gives."""
    texts = (request.get("input") or {}).get("texts") or []
    size = int((request.get("parameters") or {}).get("dimension") or 1024)
    found = [{"text_index": index, "embedding": embed(text, size)} for index, text in enumerate(texts)]
    tokens = sum(len(split_tokens(text)) for text in texts)
    return encode({"output": {"embeddings": found}, "usage": {"total_tokens": tokens}, "request_id": "scripted"})
