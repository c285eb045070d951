"""Anthropic's Messages as they come over the wire: events, whole answers, counts and errors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapters.failures import Codes, FailureMap, decode_or_fail
from adapters.said import Saying, read_piece
from adapters.sse import ServerEvent
from domain.deltas import Delta, Finish, ToolCallDelta, UsageReport
from domain.errors import ProviderDenied, ProviderRejected, ProviderTimeout, ProviderUnavailable, UpstreamCut
from domain.generation import FinishReason
from domain.usage import Usage

# Beyond the common ones. The spending limits come as 429, and waiting does not help before the month is over.
CODES: Codes = {
    "api_error": ProviderUnavailable,
    "timeout_error": ProviderUnavailable,
    "billing_error": ProviderDenied,
    "enforced_spend_limit_reached": ProviderDenied,
    "contract_spend_limit_reached": ProviderDenied,
    "request_too_large": ProviderRejected,
}

_NOT_TOLD = ("ping", "message_stop")
_NULL = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"{}")
_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = _EMPTY


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    type: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: msgspec.Raw = _NULL  # decoded on its own: an odd count must not cost the answer


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = _NULL


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Counted(msgspec.Struct):
    input_tokens: int


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_counts = msgspec.json.Decoder(_Counts).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


class MessageAnswer:
    """Reads one answer. Complete means: a stop reason or ``message_stop`` was seen.

    ``expect_end`` is called with the stop reason: only the end marker may follow. With ``wire`` every event is given
    as it came too, with what was read from it; not pings, which are no sign of life, errors, and the end marker.
    """

    def __init__(self, failures: FailureMap, expect_end: Callable[[], None], *, wire: bool = False) -> None:
        self._failures = failures
        self._expect_end = expect_end
        self._wire = wire
        self._stop_reason = ""
        self._over = False
        self._counts: dict[str, Any] = {}
        self._calls: dict[int, int] = {}  # block -> number among the tool calls
        self._silent: set[int] = set()  # blocks of tool calls whose input has not come yet
        self._readers: Mapping[str, Callable[[_Event, Saying], None]] = {
            "content_block_delta": self._block_delta,
            "content_block_start": self._block_start,
            "content_block_stop": self._block_stop,
            "message_start": self._message_start,
            "message_delta": self._message_delta,
        }

    def deltas(self, pieces: Iterable[Sequence[ServerEvent]]) -> Iterator[Delta]:
        """What all events say, by the pieces in which they came; at the end of a complete answer what closes it."""
        try:
            for events in pieces:
                yield from read_piece(events, self._event, wire=self._wire)
                if self._over:
                    break
        except (UpstreamCut, ProviderTimeout):
            # With the stop reason the answer is whole; only the end marker got lost.
            if not self._stop_reason:
                raise
        yield from self._closing()

    def whole(self, body: bytes) -> Iterator[Delta]:
        """The deltas of an answer in one piece. Raises ProviderGarbage when it is none."""
        message: _Message = decode_or_fail(_decode_message, body, self._failures)
        if message.type == "error":
            raise self._failures.from_event(body)
        if message.type != "message" or not message.stop_reason:
            raise self._failures.garbage("neither a stream nor a message")
        saying = Saying(wire=self._wire)
        saying.event(body)
        for index, block in enumerate(message.content):
            self._block_start(_Event(index=index, content_block=block), saying)
            self._block_stop(_Event(index=index), saying)
        yield from saying.piece()
        self._count(message.usage)
        self._stop_reason = message.stop_reason
        yield from self._closing()

    def _event(self, server_event: ServerEvent, saying: Saying) -> None:
        if self._over:
            return
        event: _Event = decode_or_fail(_decode_event, server_event.data, self._failures)
        if event.type == "error":
            raise self._failures.from_event(server_event.data)
        if event.type not in _NOT_TOLD:
            saying.event(server_event.data, server_event.name)
        self._over = event.type == "message_stop"
        if reader := self._readers.get(event.type):
            reader(event, saying)

    def _closing(self) -> Iterator[Delta]:
        if usage := self._usage():
            yield UsageReport(usage)
        if self._stop_reason or self._over:
            yield Finish(_FINISH.get(self._stop_reason, "tool_calls" if self._calls else "stop"))

    def _message_start(self, event: _Event, _: Saying) -> None:
        if event.message:
            self._count(event.message.usage)

    def _message_delta(self, event: _Event, _: Saying) -> None:
        self._count(event.usage)
        if event.delta and event.delta.stop_reason:
            self._stop_reason = event.delta.stop_reason
            self._expect_end()

    def _block_start(self, event: _Event, saying: Saying) -> None:
        block = event.content_block or _Block()
        if block.type == "tool_use":
            number = self._calls.setdefault(event.index, len(self._calls))
            given = bytes(block.input)
            if given in (b"{}", b"null"):
                self._silent.add(event.index)
                given = b""
            saying.add(ToolCallDelta(number, block.id, block.name, given.decode()))
        elif block.text and block.type == "text":
            saying.text(block.text)
        elif block.thinking:
            saying.reasoning(block.thinking)

    def _block_delta(self, event: _Event, saying: Saying) -> None:
        delta = event.delta or _Delta()
        if delta.text:
            saying.text(delta.text)
        elif delta.thinking:
            saying.reasoning(delta.thinking)
        elif delta.partial_json and event.index in self._calls:  # other blocks are tools that the provider runs
            self._silent.discard(event.index)
            saying.add(ToolCallDelta(self._calls[event.index], arguments=delta.partial_json))

    def _block_stop(self, event: _Event, saying: Saying) -> None:
        if event.index in self._silent:  # a call without arguments: an empty object, not nothing
            self._silent.discard(event.index)
            saying.add(ToolCallDelta(self._calls[event.index], arguments="{}"))

    def _count(self, raw: msgspec.Raw) -> None:
        if raw == _NULL:
            return
        try:
            counts: _Counts = _decode_counts(raw)
        except msgspec.MsgspecError:
            return
        self._counts |= {name: value for name, value in msgspec.structs.asdict(counts).items() if value is not None}

    def _usage(self) -> Usage | None:
        """What was counted last of each. The prompt is what was read anew, and what a cache held or took."""
        counts = self._counts
        if "input_tokens" not in counts:
            return None
        cached = counts.get("cache_read_input_tokens", 0)
        details: _OutputDetails | None = counts.get("output_tokens_details")
        return Usage(
            counts["input_tokens"] + cached + counts.get("cache_creation_input_tokens", 0),
            counts.get("output_tokens", 0),
            cached_tokens=cached,
            reasoning_tokens=(details and details.thinking_tokens) or 0,
        )


def counted_tokens(body: bytes, failures: FailureMap) -> int:
    """The answer of ``count_tokens``. Raises ProviderGarbage when it is none."""
    counted: _Counted = decode_or_fail(_decode_counted, body, failures)
    return counted.input_tokens
