"""What every dialect sends, but for ids, times and the joining of deltas: a golden file for each dialect and case.

``UNICHAT_REWRITE_GOLDEN=1`` writes them anew (docs/development.md); a change in one is a change for clients.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.actors import set_up
from tests.conftest import AppFactory
from tests.contract.gateway import providers
from tests.scripted_provider.client import ScriptedProvider

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
REWRITE = os.environ.get("UNICHAT_REWRITE_GOLDEN") == "1"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BONN, COLOGNE = ({"name": "weather", "arguments": {"city": city}} for city in ("Bonn", "Köln"))
USED = {"prompt_tokens": 11, "completion_tokens": 7}
TEXT = {"text": "one two three four", "usage": USED}
# How the provider answers.
CASES: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "tools_in_fragments": {"tool_calls": [BONN], "tool_fragments": 4, "usage": USED},
    "parallel_tools": {"text": "Let me look.", "tool_calls": [BONN, COLOGNE], "tool_fragments": 2, "usage": USED},
    "reasoning": {"reasoning": "Let me think.", "text": "Yes.", "usage": USED},
    "refusal": {"refusal": "I will not.", "usage": USED},
    "length": {**TEXT, "finish_reason": "length"},
    "cut": {**TEXT, "fault": "cut", "after": 2},
    "error_before_the_first_token": {"status": 500},
    "error_after_the_first_token": {**TEXT, "fault": "error_in_200", "after": 1},
}
Body = Callable[[str, bool], dict[str, Any]]


def _completions(model: str, streamed: bool) -> Body:
    stream = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}

    def body(said: str, tools: bool) -> dict[str, Any]:
        asked = {"model": model, "messages": [{"role": "user", "content": said}], **stream}
        return asked | ({"tools": [tool]} if tools else {})

    return body


def _messages(model: str) -> Body:
    def body(said: str, tools: bool) -> dict[str, Any]:
        spoken = [{"role": "user", "content": said}]
        asked = {"model": model, "max_tokens": 100, "messages": spoken, "stream": True}
        return asked | ({"tools": [{"name": "weather", "input_schema": SCHEMA}]} if tools else {})

    return body


def _responses(said: str, tools: bool) -> dict[str, Any]:
    asked = {"model": "plain", "input": said, "stream": True}
    return asked | ({"tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}]} if tools else {})


def _native(said: str, tools: bool) -> dict[str, Any]:
    return {"model": "plain", "provider": "native", "message": said}


class Dialect(NamedTuple):
    """Where a client asks, with which body, and whether the timing decides how its deltas are joined."""

    path: str
    body: Body
    joined: bool = False


DIALECTS = {
    "completions": Dialect("/v1/chat/completions", _completions("plain", streamed=True)),
    "completions_translated": Dialect("/v1/chat/completions", _completions("translated", streamed=True)),
    "completions_whole": Dialect("/v1/chat/completions", _completions("plain", streamed=False)),
    "completions_whole_translated": Dialect("/v1/chat/completions", _completions("translated", streamed=False)),
    "messages": Dialect("/v1/messages", _messages("translated")),
    "messages_translated": Dialect("/v1/messages", _messages("plain")),
    "responses": Dialect("/v1/responses", _responses, joined=True),
    "native": Dialect("/api/v1/chat/stream", _native, joined=True),
}
# What differs from one run to the next, and what stands for it. An id gets a number: equal ones stay equal.
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Ours, two ways to write a UUID, and the provider's number of a request.
ANY = rf"[0-9a-hjkmnp-tv-z]{{26}}|[0-9a-f]{{32}}|{UUID}|(?<=req_)\d{{8}}"
ID = re.compile(rf"(?<![0-9a-z])((?:[a-z]+_)*)(?:{ANY})(?![0-9a-z])")
TIMES = [
    (re.compile(r'("(?:created|created_at|completed_at)":)\d+(?:\.\d+)?'), r"\1<time>"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)"), "<date>"),
]
# The text of an event that may be joined with the one before it, by the event's type.
JOINED = {
    "content": "content",
    "reasoning": "content",
    "response.output_text.delta": "delta",
    "response.reasoning_text.delta": "delta",
    "response.reasoning_summary_text.delta": "delta",
    "response.function_call_arguments.delta": "delta",
}


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _join(body: str) -> str:
    """The stream as if neighbouring deltas of a kind had come at once; its numbers have no gap before nor after."""
    events: list[tuple[str, dict[str, Any]]] = []
    *frames, rest = body.split("\n\n")
    assert rest == ""
    first = f"{frames.pop(0)}\n\n" if frames[0].startswith("retry: ") else ""
    for number, frame in enumerate(frame for frame in frames if not frame.startswith(":")):
        head, data = frame.split("data: ")
        event = json.loads(data)
        assert _compact(event) == data
        assert event.get("sequence_number", number) == number
        assert head.startswith(("event: ", f"id: {number + 1}\n"))
        text = JOINED.get(event["type"], "")
        if text and events and events[-1][1]["type"] == event["type"]:
            events[-1][1][text] += event[text]
        else:
            events.append((head, event))
    return first + "".join(_renumbered(number, *event) for number, event in enumerate(events))


def _renumbered(number: int, head: str, event: dict[str, Any]) -> str:
    if "sequence_number" in event:
        event["sequence_number"] = number
    return f"{re.sub('id: [0-9]+', f'id: {number + 1}', head)}data: {_compact(event)}\n\n"


def _stable(text: str) -> str:
    seen: dict[str, str] = {}
    for pattern, stand_in in TIMES:
        text = pattern.sub(stand_in, text)
    return ID.sub(lambda found: seen.setdefault(found[0], f"<{found[1]}{len(seen) + 1}>"), text)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_what_it_was(make_app: AppFactory, provider: ScriptedProvider, name: str, case: str) -> None:
    dialect, script = DIALECTS[name], CASES[case]
    made = {key: entry for key, entry in providers(provider).items() if key in ("native", "other")}
    user = set_up(make_app(made, AUTO_TITLE=False))
    provider.script(times=-1, **script)
    answer = user.post(dialect.path, dialect.body("hello", "tool_calls" in script))
    body = answer.get_data(as_text=True)
    provider.reset()
    sent = f"{answer.status_code} {answer.mimetype}\n\n{_stable(_join(body) if dialect.joined else body)}"

    golden = GOLDEN / name / f"{case}.txt"
    if REWRITE:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(sent, encoding="utf-8")
    assert sent == golden.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    wanted = {GOLDEN / name / f"{case}.txt" for name in DIALECTS for case in CASES}

    assert set(GOLDEN.rglob("*.txt")) == wanted
