"""The neutral answer that a script makes of a request; the wires only put it into their own words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from .script import Script, TokenUsage, ToolCall, without_directive

TOKEN = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+\s*|\s+")
LINE_SEPARATOR = "\u2028"
BROKEN_MARK = "\ue000"
"""Stands in the text where faults.py puts bytes that are not UTF-8."""

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "small", "ships", "sail", "home")


class Piece(NamedTuple):
    """One event's worth of an answer."""

    kind: Literal["text", "reasoning"]
    text: str


class ToolFragment(NamedTuple):
    """A part of a tool call. Only the first of a call carries its id and name."""

    number: int
    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Usage:
    """Token counts; a token is about a word here."""

    prompt: int
    completion: int
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt + self.completion


@dataclass(slots=True)
class Answer:
    """Everything a wire needs: pieces in order, tool calls, why it ends, and what it costs."""

    pieces: list[Piece]
    tool_calls: list[ToolCall]
    finish_reason: str
    usage: Usage | None
    usage_unasked: bool = False
    fragments: int = 1
    app: str = "chat"
    script: Script = field(default_factory=Script)

    def text(self, kind: str = "text") -> str:
        """The whole text, or the whole reasoning."""
        return "".join(piece.text for piece in self.pieces if piece.kind == kind)

    def tool_fragments(self) -> list[ToolFragment]:
        """The tool calls cut into fragments, call after call, as OpenAI streams parallel calls."""
        fragments: list[ToolFragment] = []
        for index, call in enumerate(self.tool_calls):
            arguments = arguments_of(call)
            size = max(1, -(-len(arguments) // self.fragments))
            fragments.append(ToolFragment(index, call_id(call, index), call.name, ""))
            parts = (arguments[at : at + size] for at in range(0, len(arguments), size))
            fragments += [ToolFragment(index, "", "", part) for part in parts]
        return fragments


def arguments_of(call: ToolCall) -> str:
    """The arguments as the string that goes over the wire."""
    return call.arguments if isinstance(call.arguments, str) else msgspec.json.encode(call.arguments).decode()


def call_id(call: ToolCall, index: int) -> str:
    """The scripted id, or one made of the position."""
    return call.id or f"call_{index}_{call.name}"


def split_tokens(text: str) -> list[str]:
    """Words with the space after them; ideographs one by one. Joined, they are the text again."""
    return TOKEN.findall(text)


def message_text(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts (OpenAI's and DashScope's)."""
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content if isinstance(content, list) else ()
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def last_user_text(messages: list[Any]) -> str:
    """The text of the newest message of the user, empty when there is none."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return message_text(message.get("content"))
    return ""


def count_tokens(messages: list[Any]) -> int:
    """Tokens in all the messages' texts, plus three per message."""
    texts = (message_text(message.get("content")) for message in messages if isinstance(message, dict))
    return sum(len(split_tokens(text)) + 3 for text in texts)


def default_text(prompt: str) -> str:
    """The answer when the script gives none: it quotes the prompt's last eight words."""
    words = without_directive(prompt).split()[-8:]
    return f"You said: {' '.join(words)}. That is all I know."


def generated_words(count: int) -> list[str]:
    """A given number of one-word tokens, always the same ones."""
    return [WORDS[index % len(WORDS)] + " " for index in range(count)]


def compose(script: Script, prompt: str, prompt_tokens: int, max_tokens: int | None) -> Answer:
    """The answer to a prompt. `max_tokens` cuts it and makes the finish reason "length"."""
    tokens, reasoning = _answer_tokens(script, prompt), split_tokens(script.reasoning)
    finish = script.finish_reason or ("tool_calls" if script.tool_calls else "stop")
    if max_tokens and len(tokens) > max_tokens:
        tokens, finish = tokens[:max_tokens], "length"
    if script.fault == "empty_answer":
        tokens, reasoning = [], []
    pieces = [Piece("reasoning", text) for text in _grouped(reasoning, script.chunk_tokens)]
    pieces += [Piece("text", text) for text in _grouped(tokens, script.chunk_tokens)]
    tool_tokens = sum(len(split_tokens(arguments_of(call))) + 1 for call in script.tool_calls)
    counted = Usage(prompt_tokens, len(tokens) + len(reasoning) + tool_tokens, len(reasoning))
    return Answer(
        pieces=pieces,
        tool_calls=script.tool_calls,
        finish_reason=finish,
        usage=_reported(script, counted),
        usage_unasked=script.usage == "always",
        fragments=script.tool_fragments,
        app=script.app,
        script=script,
    )


def _answer_tokens(script: Script, prompt: str) -> list[str]:
    if script.refusal:
        tokens = split_tokens(script.refusal)
    elif script.tokens is not None:
        tokens = list(script.tokens)
    elif script.text is not None:
        tokens = split_tokens(script.text)
    elif script.words is not None:
        tokens = generated_words(script.words)
    else:
        tokens = [] if script.tool_calls else split_tokens(default_text(prompt))
    mark = {"u2028": LINE_SEPARATOR, "invalid_utf8": BROKEN_MARK}.get(script.fault)
    if mark:
        tokens.insert(len(tokens) // 2, f"{mark} ")
    return tokens


def _grouped(tokens: list[str], size: int) -> list[str]:
    if size <= 1:
        return tokens
    return ["".join(tokens[at : at + size]) for at in range(0, len(tokens), size)]


def _reported(script: Script, counted: Usage) -> Usage | None:
    if script.usage == "off":
        return None
    if script.usage == "zero":
        return Usage(0, 0)
    if isinstance(script.usage, TokenUsage):
        return Usage(script.usage.prompt_tokens, script.usage.completion_tokens)
    return counted
