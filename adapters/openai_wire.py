"""OpenAI's chat completions as they go over the wire, both ways."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapters.failures import FailureMap, decode_or_fail
from adapters.said import Saying, read_piece
from adapters.sse import ServerEvent
from domain.deltas import Delta, Finish, ToolCallDelta, UsageReport
from domain.errors import ProviderTimeout, ProviderUnavailable, UpstreamCut
from domain.generation import FinishReason
from domain.usage import Usage

_NULL = msgspec.Raw(b"null")
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_FAILED = {"insufficient_system_resource", "network_error", "error"}


class FunctionFragment(msgspec.Struct, gc=False):
    """A piece of what a tool call calls."""

    name: str | None = None
    arguments: str | None = None


class _CustomFragment(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class ToolCallFragment(msgspec.Struct, gc=False):
    """A piece of a tool call; the first has its id and name. ``custom`` tools take any text."""

    index: int | None = None
    id: str | None = None
    function: FunctionFragment | None = None
    custom: _CustomFragment | None = None


class _Audio(msgspec.Struct, gc=False):
    transcript: str | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None  # a string where it is text, something else where it is settings
    refusal: str | None = None
    tool_calls: list[ToolCallFragment] | None = None
    function_call: FunctionFragment | None = None  # what tool_calls was before there could be many
    audio: _Audio | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None  # in its place in an answer that is not streamed
    text: str | None = None  # in place of both where a bare prompt is answered
    finish_reason: str | None = None
    index: int = 0


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL  # decoded on its own: an odd count must not cost the answer
    error: msgspec.Raw = _NULL


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None

    def neutral(self) -> Usage:
        cached = self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens
        thought = self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            cached_tokens=cached or self.prompt_cache_hit_tokens or 0,
            reasoning_tokens=thought or 0,
        )


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


class Answer:
    """Reads one answer. Complete means: a finish reason or ``[DONE]`` was seen.

    ``expect_end`` is called with the finish reason: a count and the end marker may follow, and nothing that is missed.
    With ``wire`` every event is given as it came too, with what was read from it; one that tells of a failure is not.
    """

    def __init__(self, failures: FailureMap, expect_end: Callable[[], None], *, wire: bool = False) -> None:
        self.failures = failures
        self._expect_end = expect_end
        self._wire = wire
        self.finish = ""
        self.usage: Usage | None = None
        self._done = False
        self._called = False

    def deltas(self, pieces: Iterable[Sequence[ServerEvent]]) -> Iterator[Delta]:
        """What all events say, by the pieces in which they came; at the end of a complete answer what closes it."""
        try:
            for events in pieces:
                yield from read_piece(events, self._next, wire=self._wire)
                if self._done:
                    break
        except (UpstreamCut, ProviderTimeout):
            # With the finish reason the answer is whole; only the count and the end marker got lost.
            if not self.finish:
                raise
        if self.usage:
            yield UsageReport(self.usage)
        if self.finish or self._done:
            yield Finish(self._reason())

    def _next(self, event: ServerEvent, saying: Saying) -> None:
        if event.data == b"[DONE]":
            self._done = True
        elif not self._done:
            self.read(event, saying)

    def read(self, event: ServerEvent, saying: Saying) -> None:
        """Read one event, or a whole answer; what closes the answer is kept in ``finish`` and ``usage``."""
        chunk: _Chunk = decode_or_fail(_decode_chunk, event.data, self.failures)
        if chunk.error != _NULL:
            raise self.failures.from_event(event.data)
        failed = False
        for choice in chunk.choices or ():
            if choice.index:
                failed = failed or choice.finish_reason in _FAILED
                continue
            if said := choice.delta or choice.message:
                self._choice(said, saying)
            elif choice.text:
                saying.text(choice.text)
            if choice.finish_reason:
                self.finished(choice.finish_reason)
        if not failed:
            saying.event(event.data)
        if chunk.usage != _NULL:
            self.usage = _usage(chunk.usage) or self.usage

    def finished(self, reason: str) -> None:
        """Note the finish reason. Raises :class:`ProviderUnavailable` for those that mean a failure."""
        if reason in _FAILED:
            raise ProviderUnavailable(f"The provider gave up on the answer ({reason}).")
        self.finish = reason
        self._expect_end()

    def tool_calls(self, fragments: Sequence[ToolCallFragment], saying: Saying) -> None:
        """Say the tool call fragments of one event."""
        for position, call in enumerate(fragments):
            self._called = True
            function = call.function or _spoken_of(call.custom)
            index = position if call.index is None else call.index
            saying.add(ToolCallDelta(index, call.id or "", function.name or "", function.arguments or ""))

    def _choice(self, delta: _Delta, saying: Saying) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought and isinstance(thought, str):
            saying.reasoning(thought)
        if text := delta.content or delta.refusal or (delta.audio and delta.audio.transcript):
            saying.text(text)
        if delta.tool_calls:
            self.tool_calls(delta.tool_calls, saying)
        if delta.function_call:
            self.tool_calls([ToolCallFragment(0, function=delta.function_call)], saying)

    def _reason(self) -> FinishReason:
        return _FINISH.get(self.finish, "tool_calls" if self._called and not self.finish else "stop")


def _spoken_of(custom: _CustomFragment | None) -> FunctionFragment:
    return FunctionFragment(custom.name, custom.input) if custom else FunctionFragment()


def _usage(raw: msgspec.Raw) -> Usage | None:
    try:
        return _decode_usage(raw).neutral()
    except msgspec.MsgspecError:
        return None
