"""Nothing that a client asks for is dropped in silence: every adapter says it to its provider, or refuses it."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from adapters.base_adapter import BaseAdapter
from domain.chat import ChatRequest, Options, PromptMessage, ResponseFormat, Tool, ToolChoice
from domain.errors import ProviderRejected, UnsupportedInput
from domain.messages import FileReference, Image, MessageRole, Part, Text, ToolCall, ToolResult
from tests.contract.adapter_cases import Case, answer, ask, case, make, provider, running  # noqa: F401
from tests.scripted_provider.client import ScriptedProvider

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TOOL = Tool("look", "Look there", SCHEMA)
MODEL = {"name": "some-model", "reasoning": True, "tools": True, "vision": True, "max_output": 60_000}
ASKED = {
    "tools": Options(tools=(TOOL,)),
    "tool_choice auto": Options(tools=(TOOL,), tool_choice=ToolChoice("auto")),
    "tool_choice none": Options(tools=(TOOL,), tool_choice=ToolChoice("none")),
    "tool_choice required": Options(tools=(TOOL,), tool_choice=ToolChoice("required")),
    "tool_choice named": Options(tools=(TOOL,), tool_choice=ToolChoice("named", "look")),
    "parallel_tool_calls": Options(tools=(TOOL,), parallel_tool_calls=False),
    "response_format json_object": Options(response_format=ResponseFormat("json_object")),
    "response_format json_schema": Options(response_format=ResponseFormat("json_schema", "n", SCHEMA, strict=True)),
    "reasoning_effort": Options(reasoning_effort="low"),
    "reasoning_budget": Options(reasoning_budget=2048),
    "stop": Options(stop=("END",)),
    "seed": Options(seed=7),
    "top_p": Options(top_p=0.5),
    "top_k": Options(top_k=5),
    "frequency_penalty": Options(frequency_penalty=0.5),
    "presence_penalty": Options(presence_penalty=0.5),
}
PLAIN = {
    name: Options(tools=(TOOL,)) if options.tools and name != "tools" else Options() for name, options in ASKED.items()
}


@pytest.fixture
def adapter(case: Case, provider: ScriptedProvider) -> BaseAdapter:
    return make(case, getattr(provider, case.url), models=[MODEL])


def asked_of(adapter: BaseAdapter, provider: ScriptedProvider, request: ChatRequest) -> Any:
    """The body that the provider got, also when it refused that, or the error without which nothing was sent."""
    provider.reset()
    try:
        adapter.check(request)
        with suppress(ProviderRejected):
            answer(adapter, request)
    except UnsupportedInput as error:
        return error
    return provider.last()["body"]


def test_every_option_is_tried() -> None:
    assert {name.partition(" ")[0] for name in ASKED} == set(Options.__dataclass_fields__)


@pytest.mark.parametrize("name", ASKED)
def test_an_option_is_said_or_refused(name: str, adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    option, *_ = name.split()
    request = ask("hello", options=ASKED[name], max_tokens=4000, whole=True)

    found = asked_of(adapter, provider, request)

    if isinstance(found, UnsupportedInput):
        assert found.error_code == "unsupported_parameter"
        assert set(found.fields) <= request.options.given
        assert option in found.fields or option not in adapter.takes
        assert provider.log() == []
    else:
        assert option in adapter.takes
        assert found != asked_of(adapter, provider, replace(request, options=PLAIN[name]))


MARK = "bWFyaw=="
PARTS: dict[str, tuple[MessageRole, Part, str]] = {
    "text of the system": (MessageRole.SYSTEM, Text("be-kind-mark"), "be-kind-mark"),
    "a call without a result": (MessageRole.ASSISTANT, ToolCall("call_mark", "look", "{}"), "call_mark"),
    "a result without a call": (MessageRole.USER, ToolResult("call_mark", "look", "a cat"), "call_mark"),
    "a picture in itself": (MessageRole.USER, Image(f"data:image/png;base64,{MARK}"), MARK),
    "a picture by address": (MessageRole.USER, Image("https://x.test/mark.png"), "https://x.test/mark.png"),
    "a file in itself": (MessageRole.USER, FileReference(f"data:application/pdf;base64,{MARK}", "m.pdf"), MARK),
    "a file by address": (
        MessageRole.USER,
        FileReference("https://x.test/mark.pdf", "m.pdf"),
        "https://x.test/mark.pdf",
    ),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("last", [True, False], ids=["last", "before"])
def test_a_part_of_a_clients_prompt_is_said_or_refused(
    name: str, last: bool, adapter: BaseAdapter, provider: ScriptedProvider
) -> None:
    role, part, mark = PARTS[name]
    messages = [PromptMessage(MessageRole.USER, [Text("hello")]), PromptMessage(role, [part])]
    if role is not MessageRole.USER or not last:
        messages.append(PromptMessage(MessageRole.USER, [Text("go on")]))
    request = ChatRequest("some-model", messages, max_tokens=100, whole=True)

    found = asked_of(adapter, provider, request)

    if isinstance(found, UnsupportedInput):
        assert provider.log() == []
    else:
        uploaded = [entry for entry in provider.log() if entry["path"].endswith("/files/upload")]
        assert mark in json.dumps(found) or (uploaded and isinstance(part, Image))
