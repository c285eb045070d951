"""A chat completion as events: the provider's own where it speaks the protocol, ours where it does not.

Nothing is written before the answer's first word: whatever fails before it is told by the status, and a provider that
was left for another one has said nothing yet. What fails later is told by an event, and there is no ``[DONE]``.
"""

from collections.abc import Generator, Sequence
from contextlib import closing

import msgspec
import structlog

from api.faults import fault_of
from api.openai.chat_json import EventTemplate, encode, outcome_json, with_model
from api.openai.errors import chat_completions_shape
from domain.deltas import (
    Delta,
    Finish,
    Piece,
    Replacement,
    Restart,
    Said,
    TextDelta,
    ToolCallDelta,
    ToolOutcome,
    WireEvent,
)
from domain.errors import AppError, ProviderError
from domain.growing_text import GrowingText
from services.stored_completions import AnyCompletion

log = structlog.get_logger()

DONE = b"data: [DONE]\n\n"
_BETWEEN = b"\n\ndata: "  # two events


class _UsageEvent(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Head(msgspec.Struct):
    """What all events of one answer share."""

    id: str
    object: str = ""
    created: int = 0
    model: str = ""


_usage_event = msgspec.json.Decoder(_UsageEvent).decode
_head = msgspec.json.Decoder(_Head).decode


def in_band_error(error: AppError) -> bytes:
    """The event for what went wrong after the stream had begun."""
    _, body = chat_completions_shape(fault_of(error))
    return b"data: " + body + b"\n\n"


class ChatWriter:
    """Writes one answer. ``answers`` of one: only one can be gone on with by another provider.

    ``words``: those of chats, or of the older protocol for bare prompts.
    """

    def __init__(
        self,
        completion: AnyCompletion,
        *,
        include_usage: bool,
        answers: int = 1,
        words: type[EventTemplate] = EventTemplate,
    ) -> None:
        self._completion = completion
        self._words = words
        self._include_usage = include_usage
        self._answers = answers
        self._started = False
        self._wired = False  # the provider's own events tell the present attempt
        self._renames = False
        self._waiting: list[bytes] = []  # events that came before the first word
        self._last = b""  # the last of the provider's events
        self._finish_told = self._usage_told = False
        self._text = GrowingText()  # what the client has
        self._calls: set[int] = set()  # the tool calls that it has heard of
        self._template: EventTemplate | None = None

    def frames(self) -> Generator[bytes, None, None]:
        """The stream. Raises what goes wrong before its first piece, and tells what goes wrong after it."""
        try:
            yield from self._frames()
        except AppError as error:
            if not self._started:
                raise
            log.warning("stream_failed", generation_id=self._completion.id, code=error.error_code, error=error.message)
            yield in_band_error(error)

    def _frames(self) -> Generator[bytes, None, None]:
        with closing(self._completion.deltas()) as deltas:
            for delta in deltas:
                try:
                    frame = self._frame(delta)
                except ProviderError as failure:
                    deltas.throw(failure)  # it ends there, and is settled as a failure
                if frame:
                    yield frame
        if self._include_usage and not self._usage_told and self._completion.usage is not None:
            yield self._ours().usage(self._completion.usage)
        yield DONE

    def _frame(self, delta: Delta) -> bytes:
        """What a delta means for the client. Raises ProviderError for what cannot follow on what it has."""
        if isinstance(delta, Piece):
            return self._piece(delta)
        if isinstance(delta, Said):
            return self._say(delta)
        if isinstance(delta, Finish):
            return self._finish(delta)
        if isinstance(delta, ToolOutcome):
            # A comment: the protocol has no event for it, and clients pass over those.
            return self._begin() + b": server_tool_call " + encode(outcome_json(delta)) + b"\n\n"
        if isinstance(delta, Restart):
            if self._started and (self._calls or self._answers > 1):
                raise _diverged()
            self._wired, self._waiting = False, []
        return b""

    def _piece(self, piece: Piece) -> bytes:
        passed = self._pass_on(piece.events) if piece.events else b""
        if passed and not self._started:
            self._waiting.append(passed)
            passed = b""
        return passed + b"".join(map(self._say, piece.deltas))

    # The provider's own events

    def _pass_on(self, events: Sequence[WireEvent]) -> bytes:
        """These as they came, but for a count that the client has not asked for."""
        if not self._wired:
            self._wired = True
            answering = self._completion.upstream.answering
            self._renames = answering is None or answering.choice.model.name != self._completion.public_model
        shown = [event.data for event in events if not (b'"usage"' in event.data and self._hides(event.data))]
        if not shown:
            return b""
        self._last = shown[-1]
        if self._renames:
            shown = [with_model(data, self._completion.public_model) for data in shown]
        frames = b"data: %b\n\n" % _BETWEEN.join(shown)
        if frames.count(b"\n") > _BETWEEN.count(b"\n") * len(shown):  # one of several lines
            frames = b"data: %b\n\n" % _BETWEEN.join(data.replace(b"\n", b"\ndata: ") for data in shown)
        self._finish_told = self._finish_told or b'"finish_reason":"' in frames or b'"finish_reason": "' in frames
        return frames

    def _hides(self, data: bytes) -> bool:
        """Whether an event is a count that the client has not asked for."""
        if b'"usage":null' in data or not _is_usage(data):
            return False
        self._usage_told = True
        return not self._include_usage

    # Ours

    def _say(self, delta: Said) -> bytes:
        """What is new, in an event; or all that has waited for it."""
        new = self._continued(delta) if isinstance(delta, Replacement) else delta
        if isinstance(new, TextDelta):
            self._text.add(new.text)
        first_of_call = isinstance(delta, ToolCallDelta) and delta.index not in self._calls
        if isinstance(delta, ToolCallDelta):
            self._calls.add(delta.index)
        before = self._begin()
        if self._wired or new is None:
            return before
        return before + self._ours().said(new, first_of_call=first_of_call)

    def _continued(self, whole: Replacement) -> TextDelta | None:
        """What the client does not have yet of a text that takes the place of all that it has."""
        has = str(self._text)
        if not whole.text.startswith(has):
            raise _diverged()
        rest = whole.text[len(has) :]
        return TextDelta(rest) if rest else None

    def _finish(self, finish: Finish) -> bytes:
        before = self._begin()
        if self._finish_told:
            return before
        self._finish_told = True
        return before + self._ours().finish(finish.reason)

    def _begin(self) -> bytes:
        """What goes before the first word; nothing later on."""
        if self._started:
            return b""
        self._started = True
        return self._released() if self._wired else self._ours().first()

    def _released(self) -> bytes:
        frames, self._waiting = b"".join(self._waiting), []
        return frames

    def _ours(self) -> EventTemplate:
        """The events that we write: they go on where the provider's own have left off."""
        if self._template is None:
            head = self._head()
            if self._renames or not head.model:
                head.model = self._completion.public_model
            self._template = self._words(msgspec.to_builtins(head), with_usage=self._include_usage)
        return self._template

    def _head(self) -> _Head:
        completion, words = self._completion, self._words
        try:
            head = _head(self._last)
        except msgspec.MsgspecError:
            head = _Head(words.prefix + completion.id.removeprefix("gen_"), created=completion.created)
        head.object = words.kind
        return head


def _is_usage(data: bytes) -> bool:
    try:
        event = _usage_event(data)
    except msgspec.MsgspecError:
        return False
    return not event.choices and event.usage != b"null"


def _diverged() -> ProviderError:
    return ProviderError(
        "The answer had to be begun anew and came out differently: what was sent of it does not count.",
        "answer_diverged",
    )
