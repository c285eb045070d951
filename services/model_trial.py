"""One real call to a model, to see whether it works."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.base_adapter import BaseAdapter, Deadlines, UpstreamCall
from domain.chat import ChatRequest, PromptMessage
from domain.deltas import Delta, Finish, ReasoningDelta, TextDelta
from domain.errors import AppError, StreamUnsupported
from domain.messages import MessageRole, Text

_PROMPT = "Say OK."
_MAX_TOKENS = 16
_DEADLINES = Deadlines(connect=5, first_token=20, idle=20, total=30)


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went. ``error_code`` and ``message`` are those that a turn would have ended with; times in ms."""

    ok: bool
    latency_ms: float
    first_token_ms: float | None = None
    error_code: str | None = None
    message: str | None = None


def try_model(adapter: BaseAdapter, model: str) -> Trial:
    """Ask for a few words. It is not booked: nobody's turn, and some tens of tokens."""
    started, first = time.monotonic(), None
    try:
        for delta in _deltas(adapter, model):
            if first is None and isinstance(delta, TextDelta | ReasoningDelta | Finish):
                first = _ms_since(started)
    except AppError as error:
        return Trial(False, _ms_since(started), first, error.error_code, error.message)
    return Trial(True, _ms_since(started), first)


def _deltas(adapter: BaseAdapter, model: str) -> Iterator[Delta]:
    prompt = [PromptMessage(MessageRole.USER, [Text(_PROMPT)])]
    request = ChatRequest(model=model, messages=prompt, max_tokens=_MAX_TOKENS)
    try:
        yield from adapter.stream(request, UpstreamCall(_DEADLINES))
    except StreamUnsupported:
        if not adapter.completes:
            raise
        yield from adapter.complete(request, UpstreamCall(_DEADLINES))


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
