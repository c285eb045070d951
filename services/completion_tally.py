"""What an answer has come to that is not stored: enough to count it, and to give it whole."""

from domain.deltas import (
    Delta,
    Finish,
    ImageDelta,
    Piece,
    ReasoningDelta,
    Replacement,
    Restart,
    TextDelta,
    ToolCallDelta,
    ToolOutcome,
    UsageReport,
)
from domain.generation import FinishReason
from domain.growing_text import GrowingText
from domain.messages import Image, ToolCall
from domain.usage import Usage


class CompletionTally:
    """Takes deltas in. ``wire`` is the provider's last event as it came, if it still tells what the client gets."""

    __slots__ = ("_calls", "_reasoning", "_text", "finish_reason", "images", "outcomes", "size", "usage", "wire")

    def __init__(self) -> None:
        self._text = GrowingText()
        self._reasoning = GrowingText()
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self.images: list[Image] = []
        self.outcomes: list[ToolOutcome] = []  # of tools of the server
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.wire: bytes | None = None
        self.size = 0  # characters taken in

    def add(self, delta: Delta) -> None:
        """Take in one delta. Text comes first: an answer is made of it."""
        if isinstance(delta, TextDelta):
            self._text.add(delta.text)
            self.size += len(delta.text)
        elif isinstance(delta, Piece):
            if delta.events:
                self.wire = delta.events[-1].data
            for said in delta.deltas:
                self.add(said)
        elif isinstance(delta, ReasoningDelta):
            self._reasoning.add(delta.text)
            self.size += len(delta.text)
        elif isinstance(delta, ToolCallDelta):
            self._add_call(delta)
        else:
            self._add_rare(delta)

    def _add_call(self, delta: ToolCallDelta) -> None:
        identity, name, arguments = self._calls.get(delta.index) or ("", "", [])
        arguments.append(delta.arguments)
        self._calls[delta.index] = (delta.id or identity, delta.name or name, arguments)
        self.size += len(delta.arguments)

    def _add_rare(self, delta: Delta) -> None:
        match delta:
            case UsageReport(usage=usage):
                self.usage = usage
            case Finish(reason=reason):
                self.finish_reason = reason
            case ToolOutcome():
                self.outcomes.append(delta)
                self.size += len(delta.content)
            case ImageDelta(url=url, alt=alt):
                self.images.append(Image(url, alt))
                self.size += len(url)
            case Replacement(text=text, reasoning=reasoning):
                self._text = GrowingText(text)
                self._reasoning = self._reasoning if reasoning is None else GrowingText(reasoning)
                self.size += len(text)
            case Restart():
                self._calls.clear()
                self.usage = self.wire = None

    @property
    def text(self) -> str:
        """The readable answer so far."""
        return str(self._text)

    @property
    def reasoning(self) -> str:
        """What the model thought."""
        return str(self._reasoning)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls so far; their arguments are whole once the answer is."""
        return [ToolCall(identity, name, "".join(pieces)) for identity, name, pieces in self._calls.values()]

    def completion_text(self) -> str:
        """All that the model wrote, for counting."""
        calls = [call.name + call.arguments for call in self.tool_calls]
        return "".join([self.reasoning, self.text, *calls])
