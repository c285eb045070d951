"""What an adapter yields: one neutral vocabulary for every provider's wire."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from domain.generation import FinishReason
from domain.usage import Usage


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """The next piece of the answer."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """The next piece of the model's reasoning."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A fragment of the tool call number ``index``; ``id`` and ``name`` come once, ``arguments`` piece by piece."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class ImageDelta(msgspec.Struct, frozen=True, gc=False):
    """A finished picture in the answer."""

    url: str
    alt: str = ""


class Replacement(msgspec.Struct, frozen=True, gc=False):
    """All text so far is void; this stands in its place (moderation, or an answer that had to be begun anew).

    ``reasoning``, where given, stands in place of all reasoning so far.
    """

    text: str
    reasoning: str | None = None


class Restart(msgspec.Struct, frozen=True, gc=False):
    """The answer is asked for anew. What was shown stays until a :class:`Replacement`.

    Void are tool calls, usage and upstream state: they belong to the attempt that failed.
    """


class UsageReport(msgspec.Struct, frozen=True, gc=False):
    """The provider's own count. The last one counts."""

    usage: Usage


class UpstreamState(msgspec.Struct, frozen=True, gc=False):
    """Opaque state that the adapter wants back in the session's next request."""

    value: str


class ToolOutcome(msgspec.Struct, frozen=True, gc=False):
    """A tool of the server was run for the model: what it was asked, and what the model is told."""

    id: str
    name: str
    arguments: str
    content: str


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of the provider's own stream, as it came; ``name`` is that of its ``event:`` field, if it has one."""

    data: bytes
    name: str = ""


Said = TextDelta | ReasoningDelta | ToolCallDelta | ImageDelta | Replacement


class Piece(msgspec.Struct, frozen=True):
    """What came at once: read from the network in one go, and to be passed on in one go.

    ``events`` are for a client that speaks the provider's protocol: all that ``deltas`` say was read from them. Only
    requests that have a native form of that protocol bring these, and only when the answer came as the client wants it
    (a stream, or one piece). An event that reports a failure is raised instead, and what only marks the end of a stream
    is left to whoever writes the client's: :class:`Finish` stands for it.
    """

    deltas: Sequence[Said]
    events: Sequence[WireEvent] = ()


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The protocol's end marker: without it an answer is cut, not complete."""

    reason: FinishReason


Delta = (
    TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | ImageDelta
    | Replacement
    | Restart
    | UsageReport
    | UpstreamState
    | ToolOutcome
    | Piece
    | Finish
)


def one_by_one(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """The same deltas without any :class:`Piece`, for readers who need no events and are in no hurry."""
    for delta in deltas:
        if isinstance(delta, Piece):
            yield from delta.deltas
        else:
            yield delta
