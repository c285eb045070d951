"""A neutral request in OpenAI's words: all that was asked for is said, and nothing of a client's prompt is lost."""

from dataclasses import fields
from typing import Any

import msgspec
import pytest

from adapters.model_catalog import Quirks
from adapters.openai_request import TAKES, option_fields, request_body
from domain.chat import Capabilities, ChatRequest, ModelInfo, Options, PromptMessage, ResponseFormat, Tool, ToolChoice
from domain.errors import UnsupportedInput
from domain.messages import FileReference, MessageRole, Part, Text, ToolCall, ToolResult

MODEL = ModelInfo("m", 1000, 100)
THINKER = ModelInfo("m", 1000, 100, Capabilities(reasoning=True))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
EVERYTHING = Options(
    tools=(Tool("weather", "Tells it", SCHEMA, strict=True), Tool("time")),
    tool_choice=ToolChoice("named", "weather"),
    parallel_tool_calls=False,
    response_format=ResponseFormat("json_schema", "place", SCHEMA, strict=False),
    reasoning_effort="low",
    reasoning_budget=None,
    stop=("END",),
    seed=0,
    top_p=0.5,
    frequency_penalty=0.0,
    presence_penalty=-1.0,
)


def said(*parts: Part, role: MessageRole = MessageRole.USER, **more: Any) -> list[dict[str, Any]]:
    request = ChatRequest("m", [PromptMessage(role, parts)], **more)
    return list(msgspec.json.decode(request_body(request, MODEL, Quirks(), {}))["messages"])


def test_every_option_is_said() -> None:
    assert {name: value for name, value in option_fields(EVERYTHING, MODEL).items() if value is not None} == {
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA, "strict": True},
            },
            {"type": "function", "function": {"name": "time"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": SCHEMA, "strict": False},
        },
        "reasoning_effort": "low",
        "stop": ["END"],
        "seed": 0,
        "top_p": 0.5,
        "frequency_penalty": 0.0,
        "presence_penalty": -1.0,
    }


def test_what_it_takes_are_options_and_all_but_one_of_them() -> None:
    assert {one.name for one in fields(Options)} - TAKES == {"top_k"}


def test_nothing_is_said_of_what_was_not_asked_for() -> None:
    assert set(option_fields(Options(), MODEL).values()) == {None}


@pytest.mark.parametrize(("budget", "effort"), [(1024, "low"), (16_384, "medium"), (32_000, "high")])
def test_a_budget_for_thinking_becomes_an_effort(budget: int, effort: str) -> None:
    assert option_fields(Options(reasoning_budget=budget), THINKER)["reasoning_effort"] == effort


def test_a_model_that_does_not_think_keeps_to_any_budget() -> None:
    assert option_fields(Options(reasoning_budget=1024), MODEL)["reasoning_effort"] is None


def test_a_call_without_its_result_is_left_out_of_our_history_but_not_of_a_clients_prompt() -> None:
    call = ToolCall("c1", "weather", "{}")

    assert said(call, role=MessageRole.ASSISTANT) == []
    (message,) = said(call, role=MessageRole.ASSISTANT, whole=True)
    assert message["tool_calls"][0]["id"] == "c1"
    assert said(ToolResult("c1", "", "sunny"), whole=True) == [
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
    ]


def test_instructions_may_stand_anywhere() -> None:
    assert said(Text("Be brief."), role=MessageRole.SYSTEM) == [{"role": "system", "content": "Be brief."}]


def test_an_empty_message_of_a_client_stays() -> None:
    assert said(Text(""), whole=True) == [{"role": "user", "content": ""}]


def test_a_file_of_a_clients_prompt_goes_with_its_content() -> None:
    file = FileReference("data:application/pdf;base64,AAAA", "a.pdf")

    assert said(file) == [{"role": "user", "content": "[file: a.pdf]"}]
    (message,) = said(file, whole=True)
    assert message["content"] == [{"type": "file", "file": {"filename": "a.pdf", "file_data": file.url}}]


def test_a_file_by_its_address_is_refused_where_nothing_may_be_lost() -> None:
    with pytest.raises(UnsupportedInput):
        said(FileReference("https://files.example/a.pdf"), whole=True)
