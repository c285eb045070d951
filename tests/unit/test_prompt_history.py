"""The history of a prompt: read from its end, as far as any model has room for it."""

import json
import random
from dataclasses import dataclass, field
from itertools import dropwhile
from types import SimpleNamespace
from typing import Any

import pytest

from domain.chat import ChatRequest, PromptMessage
from domain.errors import ContextTooLong
from domain.messages import MessageRole, parts_from
from repositories.turn_repository import Said, TurnSession
from services.prompt_builder import fit, overflows
from services.prompt_history import history_of
from services.tokenizer import estimate
from services.turn_rows import Place

USER, ASSISTANT = MessageRole.USER, MessageRole.ASSISTANT


@dataclass
class Branch:
    """Stored messages, and how many of them were read."""

    rows: list[tuple[str, list[dict[str, Any]]]]
    read: int = 0
    asked: list[int] = field(default_factory=list)

    def said(self, _session_id: str, _user_id: str, *, start: int, before: int, most: int) -> list[Said]:
        first = max(start, before - most)
        found = [Said(at, self.rows[at][0], json.dumps(self.rows[at][1])) for at in range(first, before)]
        self.read += len(found)
        self.asked.append(most)
        return found[::-1]


def place(position: int, start: int = 0) -> Place:
    session = TurnSession("sess_1", None, "m", "", None, None, "user", start)
    return Place(session, "msg_1", position)


def text(words: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "word " * words}]


def read(branch: Branch, window: int, start: int = 0) -> list[PromptMessage]:
    uow: Any = SimpleNamespace(turns=branch)
    at = place(len(branch.rows), start)
    return history_of(uow, "usr_1", at, lambda messages: overflows(messages, window, estimate))


def prompt(history: list[PromptMessage], window: int) -> list[PromptMessage] | str:
    said = list(dropwhile(lambda one: one.role is not USER, [one for one in history if one.parts]))
    request = ChatRequest("m", [*said, PromptMessage(USER, parts_from(text(3)))], system="Be kind.")
    try:
        return list(fit(request, window=window, max_output=window, count=estimate).messages)
    except ContextTooLong as error:
        return error.message


def test_a_long_session_is_read_no_further_than_a_model_has_room() -> None:
    branch = Branch([((USER, ASSISTANT)[at % 2], text(50)) for at in range(10_000)])

    assert len(read(branch, window=500)) == 20
    assert branch.read == 20


def test_no_more_than_400_are_read() -> None:
    branch = Branch([((USER, ASSISTANT)[at % 2], text(1)) for at in range(10_000)])

    assert len(read(branch, window=1_000_000)) == 400


def test_the_context_may_have_been_cleared() -> None:
    branch = Branch([((USER, ASSISTANT)[at % 2], text(1)) for at in range(100)])

    assert len(read(branch, window=1_000_000, start=97)) == 3
    assert read(branch, window=1_000_000, start=100) == []
    assert branch.asked == [20]


@pytest.mark.parametrize("seed", range(40))
def test_the_prompt_is_the_one_of_the_whole_history(seed: int) -> None:
    draw = random.Random(seed)
    picture = {"type": "image", "url": "data:image/png;base64,AA=="}
    thought = {"type": "reasoning", "text": "hm " * 500}
    rows = []
    for at in range(draw.randrange(60, 500)):
        parts = text(draw.choice([0, 1, 5, 40, 300])) + draw.choice([[], [], [], [picture], [thought]])
        rows.append(((USER, ASSISTANT)[at % 2] if draw.random() > 0.1 else USER, parts))
    for window in (20, 200, 2_000, 8_000, 128_000):
        whole = read(Branch(rows), window=10**9)

        assert prompt(read(Branch(rows), window), window) == prompt(whole, window)
