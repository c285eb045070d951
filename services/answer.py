"""An answer while it grows: what goes to the event log next, and what is saved. Both always hold the same text."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from domain import deltas, events
from domain.growing_text import GrowingText
from domain.messages import Image, Part, Reasoning, Text, ToolCall, ToolResult, text_of
from domain.usage import Usage

_SILENT = (deltas.UsageReport, deltas.UpstreamState, deltas.Restart, deltas.Finish)


class Answer:
    """Takes deltas in; gives events out, small ones joined; and the message's parts at any moment."""

    def __init__(self) -> None:
        self._reasoning = GrowingText()
        self._text = GrowingText()
        self._others: list[Part] = []
        self._tool_calls: dict[int, ToolCall] = {}
        self._outbox: list[events.Event] = []
        self._pending: list[str] = []  # text of one kind that is not an event yet
        self._pending_kind: type[events.Content | events.Reasoning] = events.Content
        self.usage: Usage | None = None
        self.upstream_state: str | None = None
        self.finish_reason: str | None = None
        self.first_delta_at: float | None = None
        self.size = 0  # about the characters taken in; it grows with every change

    def add(self, delta: deltas.Delta) -> None:
        """Take in one delta."""
        for one in delta.deltas if isinstance(delta, deltas.Piece) else (delta,):
            self._add(one)

    def _add(self, delta: deltas.Delta) -> None:
        if isinstance(delta, _SILENT):
            self._note(delta)
            return
        if self.first_delta_at is None:
            self.first_delta_at = time.time()
        match delta:
            case deltas.TextDelta(text=text):
                self._add_text(events.Content, self._text, _storable(text))
            case deltas.ReasoningDelta(text=text):
                self._add_text(events.Reasoning, self._reasoning, _storable(text))
            case deltas.ToolCallDelta():
                self._add_tool_call(delta)
            case deltas.ImageDelta(url=url, alt=alt):
                self._add_image(Image(url=_storable(url), alt=_storable(alt)))
            case deltas.ToolOutcome():
                self._add_outcome(delta)
            case deltas.Replacement():
                self._replace(delta)

    def _note(self, delta: deltas.Delta) -> None:
        match delta:
            case deltas.UsageReport(usage=usage):
                self.usage = usage
            case deltas.UpstreamState(value=value):
                self.upstream_state = value
            case deltas.Finish(reason=reason):
                self.finish_reason = reason
            case deltas.Restart():
                self._tool_calls.clear()
                self.usage = self.upstream_state = None

    def _add_text(self, kind: type[events.Content | events.Reasoning], whole: GrowingText, text: str) -> None:
        if not text:
            return
        if kind is not self._pending_kind:
            self._join_pending()
            self._pending_kind = kind
        self._pending.append(text)
        whole.add(text)
        self.size += len(text)

    def _replace(self, delta: deltas.Replacement) -> None:
        text, reasoning = _storable(delta.text), delta.reasoning
        self._text = GrowingText(text)
        if reasoning is not None:
            reasoning = _storable(reasoning)
            self._reasoning = GrowingText(reasoning)
        self._emit(events.Replace(content=text, reasoning=reasoning))
        self.size += len(text) + 1  # it is to be saved, even where it is shorter

    def _add_tool_call(self, delta: deltas.ToolCallDelta) -> None:
        call = self._tool_calls.get(delta.index) or ToolCall(id="", name="", arguments="")
        self._tool_calls[delta.index] = ToolCall(
            id=_storable(delta.id) or call.id,
            name=_storable(delta.name) or call.name,
            arguments=call.arguments + _storable(delta.arguments),
        )
        self.size += len(delta.arguments)

    def _add_image(self, image: Image) -> None:
        self._others.append(image)
        self._emit(events.Image(url=image.url, alt=image.alt))
        self.size += 1 + len(image.url)

    def _add_outcome(self, outcome: deltas.ToolOutcome) -> None:
        arguments, content = _storable(outcome.arguments), _storable(outcome.content)
        self._others += (ToolCall(outcome.id, outcome.name, arguments), ToolResult(outcome.id, outcome.name, content))
        self._emit(events.ToolCall(id=outcome.id, name=outcome.name, arguments=arguments, by_server=True))
        self._emit(events.ToolResult(id=outcome.id, name=outcome.name, content=content))
        self.size += len(arguments) + len(content)

    def _emit(self, event: events.Event) -> None:
        self._join_pending()
        self._outbox.append(event)

    def _join_pending(self) -> None:
        if self._pending:
            self._outbox.append(self._pending_kind(content="".join(self._pending)))
            self._pending.clear()

    @property
    def waiting(self) -> bool:
        """Whether something has come since the last :meth:`take_events`."""
        return bool(self._pending or self._outbox)

    def take_events(self) -> list[bytes]:
        """The events since the last time, encoded."""
        self._join_pending()
        taken, self._outbox = self._outbox, []
        return [events.encode(event) for event in taken]

    def close(self) -> None:
        """No more deltas: complete tool calls become events."""
        for call in self._tool_calls.values():
            self._emit(events.ToolCall(id=call.id, name=call.name, arguments=call.arguments))

    def end(self, closing: Iterable[events.Event]) -> int:
        """Say these last; how many events wait now."""
        self._join_pending()
        self._outbox += closing
        return len(self._outbox)

    def parts(self, *, complete: bool) -> list[Part]:
        """The message so far; tool calls only once their arguments are ``complete``: half ones must never be run."""
        parts: list[Part] = []
        if reasoning := str(self._reasoning):
            parts.append(Reasoning(text=reasoning))
        if text := str(self._text):
            parts.append(Text(text=text))
        parts += self._others
        return parts + list(self._tool_calls.values()) if complete else parts

    def completion_text(self) -> str:
        """All that the model wrote, for counting."""
        calls = [call.name + call.arguments for call in self._tool_calls.values()]
        return "".join([str(self._reasoning), str(self._text), *calls])


def _storable(text: str) -> str:
    """The text without what a database cannot hold: NUL, and halves of characters."""
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "") if "\0" in text else text


def columns_of(parts: list[Part]) -> dict[str, Any]:
    """The two columns that hold parts."""
    return {"parts": msgspec.to_builtins(parts), "text": text_of(parts)}
