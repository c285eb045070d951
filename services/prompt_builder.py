"""Fitting a history into a model's window. Pure."""

from collections.abc import Callable, Sequence

import msgspec

from domain.chat import ChatRequest, PromptMessage, Tool
from domain.errors import ContextTooLong
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult

Count = Callable[[str], int]

_TOKENS_PER_MESSAGE = 4  # role and separators
_TOKENS_PER_IMAGE = 1000
_ANSWER_SHARE = 4  # a quarter of the window is kept for the answer, if nobody says how long it may be


def fit(request: ChatRequest, *, window: int, max_output: int, count: Count) -> ChatRequest:
    """``request`` without its oldest turns, as far as it must shrink to fit ``window`` tokens with an answer.

    A turn is a user message with all that answers it, so a tool call never loses its result. The system prompt
    and the newest turn always stay. Raises :class:`ContextTooLong` when they alone do not fit.
    """
    # Providers refuse a prompt that does not fit beside the answer that was asked for.
    answer = min(request.max_tokens or window // _ANSWER_SHARE, max_output)
    room = window - answer
    if _upper_bound(request) <= room:
        return request
    room -= count(request.system)
    kept: list[Sequence[PromptMessage]] = []
    for turn in reversed(_turns(request.messages)):
        room -= sum(tokens_of(message, count) for message in turn)
        if room < 0:
            break
        kept.insert(0, turn)
    if not kept:
        raise ContextTooLong(
            f"The message and the system prompt do not fit the model's window of {window:,} tokens"
            f" beside an answer of {answer:,}."
        )
    return request.with_messages([message for turn in kept for message in turn])


def overflows(messages: Sequence[PromptMessage], window: int, count: Count) -> bool:
    """Whether these alone are more than ``window`` tokens, also where pictures are told in a few words."""
    if sum(tokens_of(message, _bytes_of) for message in messages) <= window:
        return False
    least = 0
    for message in messages:
        words = [part for part in message.parts if not isinstance(part, Image)]
        least += tokens_of(PromptMessage(message.role, words), count)
    return least > window


def prompt_tokens(request: ChatRequest, count: Count) -> int:
    """An estimate of what the provider will count for the prompt."""
    told = count(request.system) + sum(tokens_of(message, count) for message in request.messages)
    return told + sum(_tool_tokens(tool, count) for tool in request.options.tools)


def tokens_of(message: PromptMessage, count: Count) -> int:
    """Tokens of one message of a prompt."""
    return _TOKENS_PER_MESSAGE + sum(_part_tokens(part, count) for part in message.parts)


def _tool_tokens(tool: Tool, count: Count) -> int:
    schema = msgspec.json.encode(tool.parameters or {}).decode()
    return _TOKENS_PER_MESSAGE + count(tool.name) + count(tool.description) + count(schema)


def _part_tokens(part: Part, count: Count) -> int:
    match part:
        case Text(text=text):
            return count(text)
        case Image():
            return _TOKENS_PER_IMAGE
        case FileReference():
            return count(part.name) + count(part.url)  # it is sent as a link
        case ToolCall():
            return count(part.name) + count(part.arguments)
        case ToolResult():
            return count(part.content)
        case Reasoning():
            return 0  # it is not sent again


def _upper_bound(request: ChatRequest) -> int:
    """No byte-level vocabulary makes more tokens than there are bytes: most prompts need no counting at all."""
    return prompt_tokens(request, _bytes_of)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _turns(messages: Sequence[PromptMessage]) -> list[list[PromptMessage]]:
    turns: list[list[PromptMessage]] = []
    for message in messages:
        if message.role is MessageRole.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def without_reasoning(parts: Sequence[Part]) -> list[Part]:
    """What of a message goes into a later prompt."""
    return [part for part in parts if not isinstance(part, Reasoning)]


def without_pictures(message: PromptMessage) -> PromptMessage:
    """The message for a model that cannot see: pictures become a few words."""
    return PromptMessage(message.role, [_told(part) if isinstance(part, Image) else part for part in message.parts])


def _told(picture: Image) -> Text:
    return Text(f"[picture: {picture.alt or 'untitled'}]\n")
