"""Requests for responses: what they say in neutral words, what is kept of them, and what is refused."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from api.openai.responses_items import Item
from api.openai.responses_request import AskedResponse, asked_response
from domain.chat import Options, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput, UnsupportedInput
from domain.generation import GenerationStatus
from domain.messages import FileReference, Image, Message, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult
from domain.principal import Principal, Role
from services.response_service import StoredResponse

CALLER = Principal("usr_1", "grace", Role.USER, "")
PNG = "data:image/png;base64,AAAA"
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
USER, ASSISTANT, SYSTEM = MessageRole.USER, MessageRole.ASSISTANT, MessageRole.SYSTEM


class Earlier:
    """What was said before: ``chain`` as (input, answer)."""

    def __init__(self, chain: Sequence[tuple[list[Item], list[Part]]] = (), items: Mapping[str, Item] | None = None):
        self._chain = [stored(given, parts) for given, parts in chain]
        self._items = items or {}

    def chain(self, response_id: str | None, /) -> Sequence[StoredResponse]:
        return self._chain if response_id else ()

    def item(self, item_id: str, /) -> Item | None:
        return self._items.get(item_id)


def stored(given: list[Item], parts: list[Part]) -> StoredResponse:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    message = Message(
        "msg_1", "sess_1", None, ASSISTANT, "", parts, GenerationStatus.COMPLETED, None, None, None, None, None, "",
        moment,
    )  # fmt: skip
    return StoredResponse("resp_0", {"input": given}, False, None, moment, "gen_1", message)


def asked(earlier: Earlier | None = None, **fields: Any) -> AskedResponse:
    body = {"model": "m", "input": "hello"} | fields
    return asked_response(CALLER, json.dumps(body).encode(), earlier or Earlier())


def said(given: Any, earlier: Earlier | None = None, **fields: Any) -> list[tuple[MessageRole, list[Part]]]:
    messages = asked(earlier, input=given, **fields).wish.asked.messages
    return [(message.role, list(message.parts)) for message in messages]


def user(text: str) -> Item:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def test_words_are_a_message_of_the_user() -> None:
    assert said("hello") == [(USER, [Text("hello")])]


def test_instructions_and_what_operators_say_first_are_the_system_prompt() -> None:
    given = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "hello"},
        {"role": "system", "content": "Now be brief."},
    ]
    request = asked(input=given, instructions="You are a cook.").wish.asked

    assert request.system == "You are a cook.\n\nBe kind."
    assert [message.role for message in request.messages] == [USER, SYSTEM]


def test_contents_of_all_kinds() -> None:
    text_file = "data:text/plain;base64," + b64encode(b"one, two").decode()
    given = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "file_url": "https://files/a.pdf", "filename": "a.pdf"},
                {"type": "input_file", "file_data": text_file, "filename": "a.csv"},
            ],
        }
    ]

    assert said(given) == [
        (
            USER,
            [
                Text("What is this?"),
                Image(PNG),
                FileReference("https://files/a.pdf", "a.pdf"),
                Text("a.csv\n\none, two\n\n"),
            ],
        )
    ]


def test_what_a_model_said_in_one_go_is_one_message_and_results_go_where_they_were_asked_for() -> None:
    given = [
        user("Weather?"),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        CALL,
        CALL | {"call_id": "c2"},
        RESULT | {"call_id": "c2", "output": [{"type": "input_text", "text": "sun"}]},
        RESULT,
    ]

    (_, (role, parts)) = said(given)
    assert role is ASSISTANT
    assert parts == [
        Reasoning("Hm."),
        Text("Let me see."),
        ToolCall("c1", "weather", "{}"),
        ToolCall("c2", "weather", "{}"),
        ToolResult("c2", "weather", "sun"),
        ToolResult("c1", "weather", "rain"),
    ]


def test_a_chain_comes_first_without_its_instructions() -> None:
    earlier = Earlier([([user("one")], [Text("two")]), ([user("three")], [ToolCall("c1", "weather", "{}")])])

    assert said([RESULT], earlier, previous_response_id="resp_1") == [
        (USER, [Text("one")]),
        (ASSISTANT, [Text("two")]),
        (USER, [Text("three")]),
        (ASSISTANT, [ToolCall("c1", "weather", "{}"), ToolResult("c1", "weather", "rain")]),
    ]


def test_a_reference_stands_for_its_item() -> None:
    item = user("one") | {"id": "msg_x_i0"}
    request = asked(
        Earlier(items={"msg_x_i0": item}), input=[{"type": "item_reference", "id": "msg_x_i0"}, user("two")]
    )

    assert [message.text for message in request.wish.asked.messages] == ["one", "two"]
    assert request.wish.request["input"][0] == item


def test_options_in_neutral_words() -> None:
    schema = {"type": "object"}
    request = asked(
        tools=[{"type": "function", "name": "weather", "parameters": schema, "strict": True}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}},
        reasoning={"effort": "low", "summary": "auto"},
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=50,
    ).wish.asked

    assert (request.temperature, request.max_tokens, request.whole, request.end_user) == (0.5, 50, True, "usr_1")
    assert request.options == Options(
        tools=(Tool("weather", "", schema, True),),
        tool_choice=ToolChoice("named", "weather"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_schema", "answer", schema, "", True),
        reasoning_effort="low",
        top_p=0.9,
    )


def test_what_is_usual_is_not_said() -> None:
    request = asked(
        parallel_tool_calls=True,
        text={"format": {"type": "text"}, "verbosity": "medium"},
        service_tier="auto",
        top_logprobs=0,
        top_p=1,
        include=["reasoning.encrypted_content"],
        stream_options={"include_obfuscation": False},
        conversation=None,
    ).wish.asked

    assert request.options == Options()


def test_allowed_tools_are_the_only_ones() -> None:
    tools = [{"type": "function", "name": name, "parameters": None} for name in ("a", "b")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    options = asked(tools=tools, tool_choice=choice).wish.asked.options

    assert [tool.name for tool in options.tools] == ["b"]
    assert options.tool_choice == ToolChoice("required")


def test_truncation_lets_the_prompt_be_fitted() -> None:
    assert not asked(truncation="auto").wish.asked.whole


def test_whom_the_client_asks_for_is_told_with_the_user() -> None:
    assert asked(user="eve").wish.asked.end_user == "usr_1:eve"


def test_what_is_kept_is_what_a_response_shows() -> None:
    kept = asked(input=[user("hello"), CALL, RESULT], metadata={"a": "b"}, instructions="Be kind.").wish
    suffix = kept.id.removeprefix("resp_")

    assert [item["id"] for item in kept.request["input"]] == [f"msg_{suffix}_i0", f"fc_{suffix}_i1", f"fco_{suffix}_i2"]
    assert (kept.request["model"], kept.request["metadata"], kept.request["instructions"]) == (
        "m",
        {"a": "b"},
        "Be kind.",
    )
    assert "user" not in kept.request


@pytest.mark.parametrize(
    ("fields", "resumes"),
    [
        ({}, True),
        ({"input": [user("a"), user("b")]}, False),
        ({"input": [{"role": "assistant", "content": "a"}]}, False),
    ],
)
def test_a_provider_that_remembers_is_gone_on_with_by_one_message(fields: dict[str, Any], resumes: bool) -> None:
    assert asked(**fields).wish.resumes is resumes


REFUSED = [
    ({"model": None}, "model", "invalid_type"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type", "unsupported_value"),
    ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role", "invalid_value"),
    ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
    ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0]", "unsupported_value"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
        "unsupported_parameter",
    ),
    (
        {
            "input": [
                {"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,A"}]}
            ]
        },
        "input[0].content[0].file_data",
        "unsupported_value",
    ),
    ({"input": [{"type": "item_reference", "id": "msg_x"}]}, "input[0].id", "item_not_found"),
    ({"input": [RESULT]}, "input", "tool_call_not_found"),
    ({"input": [CALL]}, "input", "missing_tool_output"),
    ({"input": [CALL | {"namespace": "x"}, RESULT]}, "input[0].namespace", "unsupported_parameter"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_value"),
    ({"tools": [{"type": "mcp", "server_url": "https://x"}]}, "tools[0].type", "unsupported_value"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
    (
        {"tools": [{"type": "function", "name": "a", "defer_loading": True}]},
        "tools[0].defer_loading",
        "unsupported_parameter",
    ),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice", "unsupported_value"),
    ({"tool_choice": "any"}, "tool_choice", "unsupported_value"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format", "invalid_value"),
    ({"text": {"verbosity": "low"}}, "text.verbosity", "unsupported_parameter"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unsupported_parameter"),
    ({"reasoning": {"summary": "epic"}}, "reasoning.summary", "invalid_value"),
    ({"truncation": "middle"}, "truncation", "invalid_value"),
    ({"include": ["message.output_text.logprobs"]}, "include[0]", "unsupported_value"),
    ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
    ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
    ({"moderation": {}}, "moderation", "unsupported_parameter"),
    ({"context_management": [{}]}, "context_management", "unsupported_parameter"),
    ({"service_tier": "flex"}, "service_tier", "unsupported_parameter"),
    ({"top_logprobs": 3}, "top_logprobs", "unsupported_parameter"),
    ({"temperature": 3}, "temperature", "invalid_value"),
    ({"metadata": {"a": 1}}, "metadata[...]", "invalid_type"),
    ({"background": True, "store": False}, "background", "invalid_value"),
    ({"invented": 1}, "invented", "unknown_parameter"),
    ({"reasoning": {"invented": 1}}, "reasoning.invented", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED)
def test_what_cannot_be_said_is_refused_and_named(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        asked(**fields)

    assert (refusal.value.fields, refusal.value.error_code) == ((param,), code)
    assert isinstance(refusal.value, UnsupportedInput) == code.startswith(("unsupported", "unknown"))
