"""Events of a generation's log, and their form on the native wire.

An event's sequence number is its place in the log, from 1; readers send it as the SSE id.
``encode`` gives the JSON of the SSE data line: ``{"type": ..., ...}``.
"""

import msgspec

from domain.generation import EndReason
from domain.messages import Message


class Start(msgspec.Struct, frozen=True, tag="start", rename="camel"):
    """The generation exists and its provider is being asked."""

    message_id: str
    generation_id: str
    session_id: str
    provider: str
    model: str


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """More of the model's reasoning."""

    content: str


class Content(msgspec.Struct, frozen=True, tag="content"):
    """More of the answer."""

    content: str


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call", omit_defaults=True):
    """A complete tool call; ``by_server`` where the server runs it itself, and its result follows."""

    id: str
    name: str
    arguments: str
    by_server: bool = False


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What a tool answered."""

    id: str
    name: str
    content: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture in the answer."""

    url: str
    alt: str = ""


class Replace(msgspec.Struct, frozen=True, tag="replace", omit_defaults=True):
    """Forget the text so far; this is it. ``reasoning``, where given, stands for the reasoning so far."""

    content: str
    reasoning: str | None = None


class UsageCounts(msgspec.Struct, frozen=True):
    """Tokens of the turn and the room that is left in the model's window."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    context_limit: int
    context_remaining: int
    source: str


class UsageEvent(msgspec.Struct, frozen=True, tag="usage"):
    """What the turn cost."""

    usage: UsageCounts


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Why the answer ended."""

    reason: EndReason


class Error(msgspec.Struct, frozen=True, tag="error"):
    """It failed; ``code`` is stable, ``retryable`` says whether asking again may help."""

    code: str
    message: str
    retryable: bool


class End(msgspec.Struct, frozen=True, tag="end"):
    """The provider is done; the answer is being saved."""


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """The answer is saved; ``message`` is its record as the API shows it. Always the last event."""

    message: Message


Event = (
    Start | Reasoning | Content | ToolCall | ToolResult | Image | Replace | UsageEvent | Stop | Error | End | Complete
)

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Event).decode

# In place of Complete, where there is nothing that could be shown.
LOST = Error("generation_lost", "The answer is not there to be shown: its session may be gone.", retryable=False)

# The number of the last event of a generation whose worker died. It is past all that it can have sent: who read there
# may have seen events that nobody else knows, and gets the text as it was kept, under numbers of their own.
LAST_OF_DEAD = 10_000_000
