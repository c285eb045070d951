"""What the Anthropic adapter says in the protocol's words, how it reads answers, and what it passes on untouched."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from adapters.base_adapter import Deadlines, UpstreamCall
from domain import errors
from domain.chat import ChatRequest, NativeRequest, Options, PromptMessage, ResponseFormat, Tool, ToolChoice
from domain.deltas import Finish, Piece, ReasoningDelta, TextDelta, ToolCallDelta, UsageReport
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult
from tests.contract.adapter_cases import CASES, QUICK, answer, ask, make, provider, running, text, wire_of  # noqa: F401
from tests.contract.test_adapter_wires import saying
from tests.scripted_provider.client import ScriptedProvider

ANTHROPIC = next(case for case in CASES if case.name == "anthropic")
PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER, ASSISTANT, SYSTEM = MessageRole.USER, MessageRole.ASSISTANT, MessageRole.SYSTEM
LOOK = Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "integer"}}}, strict=True)


def prompt(*turns: tuple[MessageRole, list[Part]], model: str = "claude-sonnet-4-5", **fields: Any) -> ChatRequest:
    return ChatRequest(model, [PromptMessage(role, parts) for role, parts in turns], end_user="usr_1", **fields)


def sent(provider: ScriptedProvider, request: ChatRequest, **config: Any) -> dict[str, Any]:
    """The body that goes out for a request."""
    adapter = make(ANTHROPIC, provider.anthropic_url, **config)
    adapter.check(request)
    answer(adapter, request)
    body: dict[str, Any] = provider.last()["body"]
    return body


def native(body: dict[str, Any] | bytes, *, stream: bool = True, **headers: str) -> ChatRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    request = NativeRequest("messages", fields, stream, headers=own)
    return ChatRequest("claude-here", [PromptMessage(USER, [Text("hello")])], native=request)


# Requests in our words


def test_the_whole_request(provider: ScriptedProvider) -> None:
    body = sent(provider, ask("hello", model="claude-sonnet-4-5", system="be kind", temperature=0.5, max_tokens=50))

    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 50,
        "system": "be kind",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "temperature": 0.5,
        "stream": True,
    }
    entry = provider.last()
    assert (entry["path"], entry["key"]) == ("/anthropic/v1/messages", "7890")
    assert entry["headers"]["anthropic-version"] == "2023-06-01"


def test_an_address_with_the_version_in_it_is_the_same(provider: ScriptedProvider) -> None:
    answer(make(ANTHROPIC, f"{provider.anthropic_url}/v1/"))

    assert provider.last()["path"] == "/anthropic/v1/messages"


def test_what_nobody_says_is_the_models_most(provider: ScriptedProvider) -> None:
    assert sent(provider, ask(model="claude-opus-5"))["max_tokens"] == 128_000
    declared = [{"name": "mine", "max_output": 777}]
    assert sent(provider, ask(model="mine"), models=declared, headers={"X-Team": "blue"})["max_tokens"] == 777
    assert provider.last()["headers"]["x-team"] == "blue"


def test_history_with_tools_pictures_and_files(provider: ScriptedProvider) -> None:
    request = prompt(
        (SYSTEM, [Text("Be brief.")]),
        (
            USER,
            [
                Text("look "),
                Image("https://x.test/a.png"),
                Image(PIXEL),
                FileReference("data:application/pdf;base64,JVBERi0=", "a.pdf"),
                FileReference("https://x.test/b.pdf", "b.pdf"),
            ],
        ),
        (
            ASSISTANT,
            [
                Reasoning("I should look"),
                Text("Looking."),
                ToolCall("call_1", "look", '{"at": 1}'),
                ToolCall("call_2", "look", "not an object"),
                ToolCall("call_lost", "look", "{}"),
                ToolResult("call_1", "look", "a cat"),
                ToolResult("call_2", "look", "a dog"),
                ToolResult("call_stray", "look", "?"),
                Text("A cat."),
                Text("  "),
            ],
        ),
        (USER, [Text("and now?")]),
        (USER, [Text("well?")]),
        system="Be kind.",
    )

    body = sent(provider, request)

    assert body["system"] == "Be kind.\n\nBe brief."
    first, calls, results, said, last = body["messages"]
    assert first["content"] == [
        {"type": "text", "text": "look "},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
        {"type": "text", "text": "[b.pdf](https://x.test/b.pdf)"},
    ]
    assert calls == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": 1}},
            {"type": "tool_use", "id": "call_2", "name": "look", "input": {"arguments": "not an object"}},
        ],
    }
    assert results["role"] == "user"
    assert [block["tool_use_id"] for block in results["content"]] == ["call_1", "call_2"]
    assert said["content"] == [{"type": "text", "text": "A cat."}]
    assert [block["text"] for block in last["content"]] == ["and now?", "well?"]


def test_a_clients_prompt_goes_out_as_it_is(provider: ScriptedProvider) -> None:
    turns: list[tuple[MessageRole, list[Part]]] = [(USER, [Text("x")]), (ASSISTANT, [ToolCall("lost", "look", "{}")])]

    body = sent(provider, prompt(*turns, whole=True))

    assert [block["type"] for turn in body["messages"] for block in turn["content"]] == ["text", "tool_use"]


def test_tools_and_what_is_said_of_them(provider: ScriptedProvider) -> None:
    options = Options(tools=(LOOK, Tool("go")), tool_choice=ToolChoice("named", "look"), parallel_tool_calls=False)

    body = sent(provider, ask(options=options, model="claude-sonnet-4-5"))

    assert body["tools"] == [
        {"name": "look", "description": "Looks.", "input_schema": LOOK.parameters, "strict": True},
        {"name": "go", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == {"type": "tool", "name": "look", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(tool_choice=ToolChoice("auto")), {"type": "auto"}),
        (Options(tool_choice=ToolChoice("required")), {"type": "any"}),
        (Options(tool_choice=ToolChoice("none"), parallel_tool_calls=False), {"type": "none"}),
        (Options(tools=(LOOK,), parallel_tool_calls=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (Options(tools=(LOOK,), parallel_tool_calls=True), None),
    ],
)
def test_tool_choices(provider: ScriptedProvider, options: Options, expected: Any) -> None:
    assert sent(provider, ask(options=options)).get("tool_choice") == expected


def test_the_other_options(provider: ScriptedProvider) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    options = Options(
        stop=("END",), top_p=0.9, top_k=5, response_format=ResponseFormat("json_schema", "a", schema, strict=True)
    )

    body = sent(provider, ask(options=options, model="claude-sonnet-4-5"), send_user=True, extra_body={"top_k": None})

    assert (body["stop_sequences"], body["top_p"], body["metadata"]) == (["END"], 0.9, {"user_id": "usr_1"})
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert "top_k" not in body


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (Options(seed=1), ("seed",)),
        (Options(presence_penalty=1, frequency_penalty=1), ("frequency_penalty", "presence_penalty")),
        (Options(response_format=ResponseFormat("json_object")), ("response_format",)),
    ],
)
def test_what_the_protocol_cannot_say_is_refused(
    provider: ScriptedProvider, options: Options, fields: tuple[str, ...]
) -> None:
    with pytest.raises(errors.UnsupportedInput) as caught:
        make(ANTHROPIC, provider.anthropic_url).check(ask(options=options))

    assert caught.value.error_code == "unsupported_parameter"
    assert caught.value.fields == fields


def adaptive(effort: str) -> dict[str, Any]:
    return {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": effort},
    }


FORCED = ToolChoice("required")
THINKING: list[tuple[str, dict[str, Any], int | None, dict[str, Any]]] = [
    ("claude-sonnet-4-5", {"reasoning_effort": "low"}, None, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ("claude-sonnet-4-5", {"reasoning_budget": 5000}, None, {"thinking": {"type": "enabled", "budget_tokens": 5000}}),
    ("claude-sonnet-4-5", {"reasoning_budget": 5000}, 2000, {"thinking": {"type": "enabled", "budget_tokens": 1999}}),
    ("claude-sonnet-4-5", {"reasoning_effort": "high"}, 1500, {}),  # no room for it
    ("claude-sonnet-4-5", {"reasoning_effort": "high", "tool_choice": FORCED, "tools": (LOOK,)}, None, {}),
    ("claude-sonnet-4-5", {"reasoning_effort": "none"}, None, {}),
    ("claude-opus-5", {"reasoning_effort": "minimal"}, None, adaptive("low")),
    ("claude-opus-5", {"reasoning_effort": "xhigh"}, None, adaptive("xhigh")),
    ("claude-opus-5", {"reasoning_budget": 10_000}, None, adaptive("medium")),
    ("claude-opus-5", {"reasoning_budget": 30_000}, None, adaptive("high")),
    ("claude-opus-5", {"reasoning_effort": "none"}, None, {"thinking": {"type": "disabled"}}),
    ("claude-opus-5", {"reasoning_effort": "low", "tool_choice": FORCED}, None, {"output_config": {"effort": "low"}}),
    ("claude-opus-5", {}, None, {}),
]


@pytest.mark.parametrize(("model", "options", "most", "expected"), THINKING)
def test_thinking(
    provider: ScriptedProvider, model: str, options: dict[str, Any], most: int | None, expected: dict[str, Any]
) -> None:
    body = sent(provider, ask(model=model, options=Options(**options), max_tokens=most, temperature=0.3))

    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected
    assert ("temperature" in body) == (model == "claude-sonnet-4-5" and "thinking" not in body)


def test_no_thinking_in_the_midst_of_a_turn_with_tools(provider: ScriptedProvider) -> None:
    turns: list[tuple[MessageRole, list[Part]]] = [
        (USER, [Text("look")]),
        (ASSISTANT, [ToolCall("c", "look", "{}")]),
        (USER, [ToolResult("c", "look", "a cat")]),
    ]
    options = Options(tools=(LOOK,), reasoning_effort="high")

    assert "thinking" not in sent(provider, prompt(*turns, options=options))
    assert "thinking" in sent(provider, prompt(*turns, options=options, model="claude-opus-5"))


# Answers


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def test_counts_of_the_cache_are_part_of_the_prompt() -> None:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 1}
    body = (
        event("message_start", message={"type": "message", "content": [], "usage": usage})
        + event("content_block_start", index=0, content_block={"type": "text", "text": "Wh"})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "ole"})
        + event(
            "message_delta",
            delta={"stop_reason": "end_turn"},
            usage={"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
        )
        + event("message_stop")
    )
    with saying(body) as url:
        deltas = answer(make(ANTHROPIC, url))

    assert text(deltas) == "Whole"
    counted = next(delta.usage for delta in deltas if isinstance(delta, UsageReport))
    assert (counted.prompt_tokens, counted.completion_tokens) == (325, 9)
    assert (counted.cached_tokens, counted.reasoning_tokens) == (300, 4)


def test_tools_that_the_provider_runs_are_no_calls_and_an_empty_input_is_an_object() -> None:
    body = (
        event("content_block_start", index=0, content_block={"type": "server_tool_use", "id": "s", "name": "search"})
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"q": 1}'})
        + event("content_block_stop", index=0)
        + event("content_block_start", index=1, content_block={"type": "web_search_tool_result", "content": []})
        + event("content_block_start", index=2, content_block={"type": "redacted_thinking", "data": "x"})
        + event("content_block_start", index=3, content_block={"type": "tool_use", "id": "a", "name": "f", "input": {}})
        + event("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": ""})
        + event("content_block_stop", index=3)
        + event(
            "content_block_start",
            index=4,
            content_block={"type": "tool_use", "id": "b", "name": "g", "input": {"x": 1}},
        )
        + event("content_block_stop", index=4)
        + event("something_new", index=5)
        + event("message_delta", delta={"stop_reason": "tool_use"}, usage={"input_tokens": "many"})
        + event("message_stop")
    )
    with saying(body) as url:
        deltas = answer(make(ANTHROPIC, url))

    assert deltas == [
        ToolCallDelta(0, "a", "f"),
        ToolCallDelta(0, arguments="{}"),
        ToolCallDelta(1, "b", "g", '{"x": 1}'),
        Finish("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "tool_calls"),
        ("something_new", "stop"),
    ],
)
def test_stop_reasons(provider: ScriptedProvider, reason: str, finish: Any) -> None:
    provider.script(finish_reason=reason, times=2)
    adapter = make(ANTHROPIC, provider.anthropic_url)

    assert answer(adapter)[-1] == Finish(finish)
    assert list(adapter.complete(ask(), UpstreamCall(QUICK)))[-1] == Finish(finish)


def test_an_answer_with_its_stop_reason_is_whole_without_the_end_marker(provider: ScriptedProvider) -> None:
    provider.script(fault="no_end_marker")

    assert answer(make(ANTHROPIC, provider.anthropic_url))[-1] == Finish("stop")


ERRORS: list[tuple[dict[str, Any], int, type[errors.ProviderError]]] = [
    ({"type": "overloaded_error", "message": "Overloaded"}, 529, errors.ProviderUnavailable),
    ({"type": "api_error", "message": "Internal server error"}, 500, errors.ProviderUnavailable),
    ({"type": "timeout_error", "message": "Timed out"}, 504, errors.ProviderUnavailable),
    ({"type": "rate_limit_error", "message": "Slow down"}, 429, errors.ProviderRateLimited),
    (
        {"type": "rate_limit_error", "message": "No", "details": {"error_code": "enforced_spend_limit_reached"}},
        429,
        errors.ProviderDenied,
    ),
    ({"type": "authentication_error", "message": "invalid x-api-key"}, 401, errors.ProviderDenied),
    ({"type": "permission_error", "message": "No"}, 403, errors.ProviderDenied),
    ({"type": "billing_error", "message": "No"}, 402, errors.ProviderDenied),
    ({"type": "invalid_request_error", "message": "Your credit balance is too low"}, 400, errors.ProviderDenied),
    ({"type": "not_found_error", "message": "model: claude-0"}, 404, errors.ModelNotFound),
    ({"type": "request_too_large", "message": "Too large"}, 413, errors.ProviderRejected),
    (
        {"type": "invalid_request_error", "message": "prompt is too long: 2 tokens > 1 maximum"},
        400,
        errors.ContextTooLong,
    ),
    (
        {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
        400,
        errors.ContentFiltered,
    ),
    ({"type": "invalid_request_error", "message": "max_tokens: 1 is wrong"}, 400, errors.ProviderRejected),
]


@pytest.mark.parametrize(("error", "status", "expected"), ERRORS, ids=lambda value: str(value)[:40])
def test_errors_before_and_inside_a_stream(
    error: dict[str, Any], status: int, expected: type[errors.ProviderError]
) -> None:
    body = {"type": "error", "error": error, "request_id": "req_1"}
    with saying(json.dumps(body).encode(), "application/json", status) as url, pytest.raises(expected) as before:
        answer(make(ANTHROPIC, url))
    if expected is not errors.ModelNotFound:  # by its status only
        with saying(event(**({"kind": "error"} | body))) as url, pytest.raises(expected) as inside:
            answer(make(ANTHROPIC, url))
        assert type(inside.value) is expected
    assert type(before.value) is expected


# The client's own words


ODD = (
    b'{"model": "public-name",  "max_tokens": 1e2, "stream" : true, "top_p":0.30, "system": '
    b'[{"type":"text","text":"b\\u00e9 kind","cache_control":{"type":"ephemeral"}}], '
    b'"messages": [ {"content":"hello\\/","role":"user"} ], "something_new": {"a":[1, 2]}}'
)


def test_a_clients_own_request_goes_out_as_it_came(provider: ScriptedProvider) -> None:
    adapter = make(ANTHROPIC, provider.anthropic_url)
    request = native(ODD.replace(b'"max_tokens": 1e2', b'"max_tokens": 100'), anthropic_version="2026-10-21")

    with pytest.raises(errors.ProviderRejected, match="top_p"):  # by its own version of the protocol
        answer(adapter, request)

    assert provider.last()["headers"]["anthropic-version"] == "2026-10-21"
    with saying_back() as (url, seen), pytest.raises(errors.ProviderError):
        answer(make(ANTHROPIC, url), native(ODD))
    members = msgspec.json.decode(seen[0], type=dict[str, msgspec.Raw])
    expected = msgspec.json.decode(ODD, type=dict[str, msgspec.Raw])
    assert members == {**expected, "model": msgspec.Raw(b'"claude-here"')}
    assert list(members) == list(expected)


def test_a_request_in_which_nothing_changes_keeps_all_of_its_bytes() -> None:
    body = ODD.replace(b"public-name", b"claude-here")
    request = NativeRequest("messages", msgspec.json.decode(body, type=dict[str, msgspec.Raw]), body=body)

    with saying_back() as (url, seen), pytest.raises(errors.ProviderError):
        answer(make(ANTHROPIC, url), ask(native=request, model="claude-here"))

    assert seen == [body]


def test_every_event_is_passed_on_as_it_came_with_what_it_says(provider: ScriptedProvider) -> None:
    provider.script(reasoning="hm", text="so it is", ping_every=1, tool_calls=[{"name": "f", "arguments": {"a": 1}}])
    body = {"model": "x", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]}

    deltas = list(make(ANTHROPIC, provider.anthropic_url).stream(native(body), UpstreamCall(QUICK)))

    wire = wire_of(deltas)
    assert all(json.loads(one.data)["type"] == one.name for one in wire)
    assert "ping" not in {one.name for one in wire}
    assert [wire[0].name, *(one.name for one in wire[-2:])] == ["message_start", "content_block_stop", "message_delta"]
    assert any(b"signature_delta" in one.data for one in wire)
    for piece in deltas:
        if isinstance(piece, Piece):
            told = b"".join(re.findall(rb'"(?:text|thinking)":"(.*?)"', b"".join(one.data for one in piece.events)))
            said = [delta.text for delta in piece.deltas if isinstance(delta, TextDelta | ReasoningDelta)]
            assert "".join(said) == told.decode()
    assert text(deltas) == "so it is"
    assert deltas[-1] == Finish("tool_calls")


def test_a_whole_answer_is_passed_on_as_it_came(provider: ScriptedProvider) -> None:
    body = {"model": "x", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    adapter = make(ANTHROPIC, provider.anthropic_url)

    deltas = list(adapter.complete(native(body, stream=False), UpstreamCall(QUICK)))

    (event,) = wire_of(deltas)
    assert json.loads(event.data)["content"][0]["text"] == text(deltas)
    assert deltas[-1] == Finish("stop")
    assert "stream" not in provider.last()["body"]


def test_requests_in_another_protocol_or_ours_get_no_events_of_the_wire(provider: ScriptedProvider) -> None:
    assert not wire_of(list(make(ANTHROPIC, provider.anthropic_url).stream(ask(), UpstreamCall(QUICK))))


def test_the_provider_counts_prompts_in_its_own_words_only(provider: ScriptedProvider) -> None:
    adapter, call = make(ANTHROPIC, provider.anthropic_url), UpstreamCall(Deadlines())
    body = {"model": "x", "messages": [{"role": "user", "content": "one two three"}], "system": "be kind"}

    assert adapter.count_tokens(native(body), call) == 8
    assert provider.last()["body"] == {**body, "model": "claude-here"}
    assert provider.last()["path"].endswith("/v1/messages/count_tokens")
    assert adapter.count_tokens(ask(), call) is None
    with saying(b"{}", "application/json") as url, pytest.raises(errors.ProviderGarbage):
        make(ANTHROPIC, url).count_tokens(native(body), call)


def test_models_are_discovered(provider: ScriptedProvider) -> None:
    listed = make(ANTHROPIC, provider.anthropic_url).discover_models()

    assert listed == sorted(listed)
    assert "qwen-plus" in listed


@contextmanager
def saying_back() -> Iterator[tuple[str, list[bytes]]]:
    """A server that refuses everything, and keeps the bodies that came in."""
    seen: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(400)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()
