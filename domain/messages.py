"""Messages and their parts: pure values; identity and storage live elsewhere."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.generation import EndReason, GenerationStatus
from domain.usage import Usage


class MessageRole(StrEnum):
    """Who speaks. SYSTEM only in prompts that clients bring along; stored messages are the other two's."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture by its address: ``https://...`` or ``data:image/...;base64,...``."""

    url: str
    alt: str = ""


class FileReference(msgspec.Struct, frozen=True, tag="file"):
    """A file that lies elsewhere."""

    url: str
    name: str = ""


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """What the model thought before it answered."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """The model asks for a tool; ``arguments`` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What the tool with that call id answered."""

    id: str
    name: str
    content: str


Part = Text | Image | FileReference | Reasoning | ToolCall | ToolResult


def text_of(parts: Sequence[Part]) -> str:
    """The readable text of a message: its text parts, joined."""
    return "".join(part.text for part in parts if isinstance(part, Text))


def open_calls(parts: Sequence[Part]) -> list[ToolCall]:
    """The calls without a result: those that the client is asked for. The server's own tools have answered theirs."""
    answered = {part.id for part in parts if isinstance(part, ToolResult)}
    return [part for part in parts if isinstance(part, ToolCall) and part.id not in answered]


def parts_from(values: object) -> list[Part]:
    """Parts from their stored JSON form. Raises ``msgspec.ValidationError`` on anything else."""
    return msgspec.convert(values, list[Part])


_parts = msgspec.json.Decoder(list[Part])


def parts_from_json(text: str) -> list[Part]:
    """The same from JSON as it is stored."""
    return _parts.decode(text)


class Message(msgspec.Struct, frozen=True, omit_defaults=False):
    """A stored message as it is shown. ``siblings`` are the ids of its alternatives, itself included, oldest first."""

    id: str
    session_id: str
    parent_id: str | None
    role: MessageRole
    content: str
    parts: list[Part]
    status: GenerationStatus
    end_reason: EndReason | None
    error_code: str | None
    provider: str | None
    model: str | None
    usage: Usage | None
    generation_id: str | None
    created_at: datetime
    siblings: list[str] = []
