"""An answer as the events of a Messages stream.

A provider that speaks the protocol is passed on event by event, as they came. Everything else is put into blocks: one
``message_start``, and each piece of thought, text and tool call in a block of its own.
"""

from collections.abc import Generator, Sequence
from functools import partial

import msgspec

from api.anthropic.answer import STOP_REASONS, call_id, head, under_public_name, usage_object
from api.anthropic.blocks import Blocks, frame, raw_frame
from api.anthropic.errors import messages_shape
from api.faults import fault_of
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
    WireEvent,
)
from domain.errors import AppError, UpstreamCut
from services.stored_completions import AnyCompletion

_PING = frame("ping")
# An attempt that comes to no more than these has told the client nothing, and may be begun anew.
_HELD = frozenset({"message_start", "content_block_start", "content_block_stop", "message_delta"})


class _Block(msgspec.Struct):
    type: str = ""


class _BlockStart(msgspec.Struct):
    index: int
    content_block: _Block


_decode_start = msgspec.json.Decoder(_BlockStart).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class MessageStream:
    """Writes the events of one completion."""

    def __init__(self, completion: AnyCompletion, request_id: str) -> None:
        self._completion = completion
        self._request_id = request_id
        self._blocks = Blocks(partial(call_id, completion=completion))
        self._held: list[bytes] = []
        self._began = False  # something is sent
        self._passing_on = False  # the provider's events are passed on
        self._ended = False  # one of them was the message's end
        self._reason = "end_turn"

    def frames(self) -> Generator[bytes, None, None]:
        """The events. Raises as :meth:`Completion.deltas` does while nothing was sent; later failures are events."""
        try:
            for delta in self._completion.deltas():
                if data := self._frames_of(delta):
                    self._began = True
                    yield data
            yield self._closing()
        except AppError as error:
            if not self._began:
                raise
            yield raw_frame("error", messages_shape(fault_of(error, self._request_id))[1])
        finally:
            self._completion.close()

    def _frames_of(self, delta: Delta) -> bytes:
        if isinstance(delta, Piece):
            return b"".join(map(self._passed_on, delta.events)) + self._told(delta.deltas)
        if isinstance(delta, Restart):
            return self._restart()
        return self._told((delta,))

    def _told(self, deltas: Sequence[Delta]) -> bytes:
        if self._passing_on:
            return b"".join(map(self._told_already, deltas))
        written = b"".join(map(self._written, deltas))
        return written if self._began or not written else self._start() + written

    def _written(self, delta: Delta) -> bytes:
        blocks = self._blocks
        match delta:
            case TextDelta(text=text) if text:
                return blocks.text(text)
            case ReasoningDelta(text=text) if text:
                return blocks.thought(text)
            case ToolCallDelta():
                return blocks.call(delta)
            case ImageDelta(url=url, alt=alt):
                return blocks.text(f"\n![{alt}]({url})\n")
            case Replacement(text=text):
                return self._replaced(text)
            case Finish(reason=reason):
                self._reason = STOP_REASONS[reason]
        return b""

    def _told_already(self, delta: Delta) -> bytes:
        """Nothing: the event said it. It is noted for the case that somebody else has to go on."""
        if isinstance(delta, TextDelta):
            self._blocks.said.append(delta.text)
        elif isinstance(delta, Finish):
            return self._released()
        return b""

    def _passed_on(self, event: WireEvent) -> bytes:
        self._passing_on = True
        name, data = event.name, event.data
        if name == "message_start":
            if self._began:
                raise UpstreamCut("The provider's answer broke off.")
            data = self._renamed(data)
        elif name == "content_block_start":
            block = _decode_start(data)
            self._blocks.entered(block.index, block.content_block.type)
        elif name == "content_block_stop":
            self._blocks.left()
        elif name == "message_delta":
            self._ended = True
        passed = raw_frame(name, data)
        if self._began:
            return passed
        self._held.append(passed)
        if name in _HELD:
            return b""
        self._began = True
        return self._released()

    def _renamed(self, data: bytes) -> bytes:
        members = _decode_members(data)
        message = under_public_name(bytes(members["message"]), self._completion)
        if message == bytes(members["message"]):
            return data
        members["message"] = msgspec.Raw(message)
        return msgspec.json.encode(members)

    def _released(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held

    def _restart(self) -> bytes:
        """The answer is begun anew: what is not sent is void, and what is sent and cannot be gone on from ends it."""
        if self._blocks.called and self._began:
            raise UpstreamCut("The provider's answer broke off after a tool call.")
        if not self._began:
            self._blocks = Blocks(partial(call_id, completion=self._completion))
        self._held.clear()
        self._blocks.forget_calls()
        self._passing_on = self._ended = False
        return b""

    def _replaced(self, text: str) -> bytes:
        """What the client has cannot be taken back: the new text has to begin with it."""
        said = "".join(self._blocks.said)
        if not text.startswith(said):
            raise UpstreamCut("The provider's answer was replaced by another one.")
        return self._blocks.text(text[len(said) :]) if len(text) > len(said) else b""

    def _start(self) -> bytes:
        prompt = self._completion.prompt_tokens
        usage = {"input_tokens": prompt, "output_tokens": 0}
        ending = {"stop_reason": None, "stop_sequence": None, "usage": usage}
        message = {**head(self._completion), "content": [], **ending}
        return frame("message_start", message=message) + _PING

    def _closing(self) -> bytes:
        """The end of an answer that is whole. Its count is known only now."""
        start = b"" if self._began else self._start()
        end = b""
        if not self._ended:
            ending = {"stop_reason": self._reason, "stop_sequence": None}
            end = frame("message_delta", delta=ending, usage=usage_object(self._completion.usage))
        return start + self._blocks.close() + end + frame("message_stop")
