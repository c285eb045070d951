"""The content blocks of a stream: one after another, each opened and closed once, in the order of their indexes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from domain.deltas import ToolCallDelta
from domain.errors import ProviderGarbage

_START: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_TEXT = (  # nearly all of a stream
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'
)


def frame(name: str, **fields: Any) -> bytes:
    """One event as it goes over the wire."""
    return raw_frame(name, msgspec.json.encode({"type": name, **fields}))


def raw_frame(name: str, data: bytes) -> bytes:
    """One event whose JSON is there."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def is_whole(self) -> bool:
        try:
            msgspec.json.decode("".join(self.pieces))
        except (msgspec.DecodeError, RecursionError):
            return False
        return True


class Blocks:
    """Writes blocks. ``named`` gives a call its id. ``said`` is the text so far, ``called`` whether a call was begun.

    Each method returns the frames to send, which may be none. Fragments of parallel calls may come mixed: a call is
    sent as it comes while no other is open, and else when that one is over.
    """

    def __init__(self, named: Callable[[str, int], str]) -> None:
        self.said: list[str] = []
        self.called = False
        self._named = named
        self._index = -1
        self._open = ""  # the type of the block that is open
        self._calls: dict[int, _Call] = {}
        self._current: int | None = None  # the call whose block is open

    def entered(self, index: int, kind: str) -> None:
        """Somebody else has opened a block."""
        self._index, self._open = index, kind
        self.called = self.called or kind == "tool_use"

    def left(self) -> None:
        """Somebody else has closed it."""
        self._open = ""

    def text(self, text: str) -> bytes:
        """More of the answer."""
        self.said.append(text)
        before = b"" if self._open == "text" else self._enter("text", _START["text"])
        return before + _TEXT % (self._index, msgspec.json.encode(text))

    def thought(self, text: str) -> bytes:
        """More of the reasoning."""
        before = b"" if self._open == "thinking" else self._enter("thinking", _START["thinking"])
        return before + self._delta("thinking_delta", thinking=text)

    def call(self, delta: ToolCallDelta) -> bytes:
        """A fragment of a call. Raises ProviderGarbage for one that belongs to a call that was over."""
        call = self._calls.setdefault(delta.index, _Call())
        if call.closed:
            raise ProviderGarbage("The provider went on with a tool call that was over.")
        call.id, call.name = call.id or delta.id, call.name or delta.name
        if delta.arguments:
            call.pieces.append(delta.arguments)
        if self._current == delta.index:
            return self._delta("input_json_delta", partial_json=delta.arguments) if delta.arguments else b""
        if self._current is not None and not self._calls[self._current].is_whole:
            return b""  # later
        return self._begin_call(delta.index)

    def forget_calls(self) -> None:
        """Those that were not begun yet are void."""
        self._calls.clear()

    def close(self) -> bytes:
        """Send what is left, and close what is open."""
        waiting = [number for number, call in self._calls.items() if not call.closed and number != self._current]
        frames = [self._leave()]
        for number in waiting:
            frames += [self._begin_call(number), self._leave()]
        return b"".join(frames)

    def _begin_call(self, number: int) -> bytes:
        call = self._calls[number]
        if not call.name:
            return b""
        identity = self._named(call.id, number)
        frames = self._enter("tool_use", {"type": "tool_use", "id": identity, "name": call.name, "input": {}})
        self.called, self._current = True, number
        arguments = "".join(call.pieces)
        return frames + (self._delta("input_json_delta", partial_json=arguments) if arguments else b"")

    def _enter(self, kind: str, block: dict[str, Any]) -> bytes:
        before = self._leave() if kind == "tool_use" else self.close()
        self._index, self._open = self._index + 1, kind
        return before + frame("content_block_start", index=self._index, content_block=block)

    def _leave(self) -> bytes:
        if not self._open:
            return b""
        if self._current is not None:
            self._calls[self._current].closed = True
        self._open, self._current = "", None
        return frame("content_block_stop", index=self._index)

    def _delta(self, kind: str, **fields: str) -> bytes:
        return frame("content_block_delta", index=self._index, delta={"type": kind, **fields})
