"""Dify's chat apps: the events of chatbots, agents, new agents and chatflows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from .answer import Answer, arguments_of, split_tokens
from .openai_wire import prompt_counts
from .wire import Counts, Frame, Wire, encode, sse

PRICE_PER_TOKEN = 0.000001
MODES = {"chat": "chat", "agent": "agent-chat", "new_agent": "agent", "chatflow": "advanced-chat"}


def new_id() -> str:
    """A UUID as Dify uses for everything."""
    return str(uuid.uuid4())


class DifyWire(Wire):
    """One answer of an app. `message_id`, `task_id` and `conversation_id` are on its events."""

    keepalive = b"event: ping\n\n"

    def __init__(self, answer: Answer, conversation_id: str, stream: bool) -> None:
        self.answer = answer
        self.stream = stream
        self.deltas = len(answer.pieces)
        self.conversation_id = conversation_id
        self.message_id, self.task_id, self._run_id = new_id(), new_id(), new_id()
        self._created = int(time.time())
        self._started = time.monotonic()

    def frames(self) -> Iterator[Frame]:
        """The app's events in the order of the real service, pings among them where scripted."""
        script = self.answer.script
        if self.answer.app == "chatflow":
            yield Frame(sse(self._workflow("workflow_started", inputs={})), kind="meta")
        for position, call in enumerate(self.answer.tool_calls, 1):
            yield Frame(sse(self._thought(position, call.name, arguments_of(call))), kind="meta")
        for index, piece in enumerate(self.answer.pieces):
            if script.ping_every and index % script.ping_every == 0:
                yield Frame(self.keepalive, kind="meta")
            yield self.delta(piece.text) if piece.kind == "text" else self._reasoning(piece.text)
        if self.answer.app == "new_agent":
            yield Frame(sse(self._event("message", id=self.message_id, answer=self.answer.text())), kind="meta")
        if script.file_url:
            file = self._event("message_file", id=new_id(), type="image", belongs_to="assistant", url=script.file_url)
            yield Frame(sse(file), kind="meta")
        if script.replace is not None:
            yield Frame(sse(self._event("message_replace", answer=script.replace)), kind="meta")
        yield self._end()
        if self.answer.app == "chatflow":
            yield Frame(sse(self._workflow("workflow_finished", **self._outcome("succeeded", None))), kind="done")

    def delta(self, text: str) -> Frame:
        """One more part of the answer."""
        event = "agent_message" if self.answer.app in ("agent", "new_agent") else "message"
        return Frame(sse(self._event(event, id=self.message_id, answer=text)), text)

    def body(self) -> bytes:
        """The answer of response_mode blocking."""
        text = self.answer.text() if self.answer.script.replace is None else self.answer.script.replace
        head = self._event("message", id=self.message_id, mode=MODES[self.answer.app], answer=text)
        return encode(head | {"metadata": self._metadata()})

    def error_event(self, code: str, message: str) -> bytes:
        """A failed workflow when that is scripted, else an `error` event, which has no task_id."""
        if self.answer.script.fault == "workflow_failed":
            return sse(self._workflow("workflow_finished", **self._outcome("failed", message)))
        event = self._event("error", code=code, message=message, status=400)
        del event["task_id"]
        return sse(event) if self.stream else encode({"code": code, "message": message, "status": 400})

    def text(self) -> str:
        """The answer text of the whole body."""
        return self.answer.text()

    def counts(self) -> Counts | None:
        """The counts in message_end or in the body."""
        return prompt_counts(self.answer.usage)

    def stopped(self, sent: str) -> list[Frame]:
        """A message_end with the usage so far: a stopped answer ends in order."""
        if self.answer.usage:
            self.answer.usage.completion = len(split_tokens(sent))
        return [self._end()]

    def _event(self, event: str, **fields: Any) -> dict[str, Any]:
        return {
            "event": event,
            "conversation_id": self.conversation_id,
            "message_id": self.message_id,
            "created_at": self._created,
            "task_id": self.task_id,
            **fields,
        }

    def _reasoning(self, text: str) -> Frame:
        return Frame(sse(self._thought(1, "", "", text)))

    def _thought(self, position: int, tool: str, tool_input: str, thought: str = "") -> dict[str, Any]:
        return self._event(
            "agent_thought",
            id=new_id(),
            position=position,
            thought=thought,
            observation="done" if tool else "",
            tool=tool,
            tool_labels={},
            tool_input=encode({tool: tool_input}).decode() if tool else "",
            message_files=[],
        )

    def _end(self) -> Frame:
        end = self._event("message_end", id=self.message_id, metadata=self._metadata(), files=None)
        return Frame(sse(end), "", "done", self.counts())

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"annotation_reply": None, "retriever_resources": []}
        usage = self.answer.usage
        if usage is not None:
            metadata["usage"] = {
                **(prompt_counts(usage) or {}),
                "prompt_unit_price": "0.001",
                "prompt_price_unit": "0.001",
                "prompt_price": f"{usage.prompt * PRICE_PER_TOKEN:.7f}",
                "completion_unit_price": "0.001",
                "completion_price_unit": "0.001",
                "completion_price": f"{usage.completion * PRICE_PER_TOKEN:.7f}",
                "total_price": f"{usage.total * PRICE_PER_TOKEN:.7f}",
                "currency": "USD",
                "latency": round(time.monotonic() - self._started, 6),
            }
        return metadata

    def _workflow(self, event: str, **data: Any) -> dict[str, Any]:
        common = {"id": self._run_id, "workflow_id": self._run_id, "created_at": self._created}
        return self._event(event, workflow_run_id=self._run_id, data=common | data)

    def _outcome(self, status: str, error: str | None) -> dict[str, Any]:
        return {
            "status": status,
            "outputs": {"answer": self.answer.text()} if error is None else None,
            "error": error,
            "elapsed_time": round(time.monotonic() - self._started, 6),
            "total_tokens": self.answer.usage.total if self.answer.usage else 0,
            "total_steps": 2,
            "finished_at": int(time.time()),
            "files": [],
        }
