"""The official `anthropic` SDK, unmodified, against /v1/messages in front of every kind of provider."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from flask_openapi import OpenAPI
from werkzeug.serving import make_server

from app import create_app
from config import load_settings
from services.pace import Pace
from services.retry_policy import RetryPolicy
from tests.actors import Actor, set_up
from tests.books import entries
from tests.chats import eventually, services
from tests.conftest import ECHO
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Servers

PIXEL = "iVBORw0KGgo="
LOOK: Any = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
GO: Any = {"name": "go", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
CALLS = [
    {"name": "look", "arguments": {"at": 1, "with": "café"}, "id": "call_a"},
    {"name": "go", "arguments": {"to": [1, 2]}, "id": "call_b"},
]
NATIVE, NEUTRAL = "claude-here", "gpt-here"
BOTH = pytest.mark.parametrize("model", [NATIVE, NEUTRAL])


@pytest.fixture(scope="module")
def app(servers: Servers, scripted_process: ScriptedProvider, tmp_path_factory: Any) -> Iterator[OpenAPI]:
    folder = tmp_path_factory.mktemp("messages")
    servers.migrated_sqlite(folder / "unichat.db")
    limits = dict.fromkeys(("RATE_LIMIT", "RATE_LIMIT_CHAT", "RATE_LIMIT_GATEWAY"), "1000000000 per minute")
    kinds = {"anthropic": (NATIVE, scripted_process.anthropic_url), "openai": (NEUTRAL, scripted_process.openai_url)}
    providers = {
        name: {
            "adapter_class": f"adapters.{name}_adapter.{ {'anthropic': 'Anthropic', 'openai': 'OpenAI'}[name] }Adapter",
            "config": {"api_key": "a-key-for-tests", "base_url": url, "models": [model]},
        }
        for name, (model, url) in kinds.items()
    }
    file = folder / "providers.json"
    first, second = (f"{name}/{model}" for name, (model, _) in kinds.items())
    routes = {"friendly": [first], "either": [first, second]}
    file.write_text(json.dumps({"routes": routes, "providers": providers}))
    settings = load_settings(
        DATA_DIR=folder, FLASK_ENV="testing", LOGGING_LEVEL="ERROR", AI_PROVIDERS_FILE=str(file), **limits
    )
    app = create_app(settings, providers | ECHO)
    services(app).runner.upstream.policy = RetryPolicy(backoff_s=0.02, rate_limit_s=0.1)
    yield app
    services(app).runner.drain(0)


@pytest.fixture(scope="module")
def address(app: OpenAPI) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def admin(app: OpenAPI) -> Actor:
    return set_up(app)


def key_of(admin: Actor, **fields: Any) -> str:
    return str(Actor.ok(admin.post("/api/v1/keys", {"name": "a program", **fields}), 201)["key"])


@pytest.fixture(scope="module")
def token(admin: Actor) -> str:
    return key_of(admin)


@pytest.fixture
def client(address: str, token: str, provider: ScriptedProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=address, api_key=token, max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture(autouse=True)
def _rested(app: OpenAPI) -> None:
    """No failure of an earlier test is held against the providers."""
    gate = services(app).runner.upstream.gate
    gate.breakers._store._states.clear()  # type: ignore[attr-defined]
    gate.breakers._ends.clear()
    gate._pace = Pace()


def ask(model: str, text: Any = "hello", **fields: Any) -> Any:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}


def streamed(client: anthropic.Anthropic, **fields: Any) -> tuple[list[Any], anthropic.types.Message]:
    """The raw events of a stream, and the message that the SDK makes of them."""
    with client.messages.stream(**fields) as stream:
        events = [event for event in stream if event.type in RAW]
        return events, stream.get_final_message()


RAW = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
)


def assert_in_order(events: list[Any]) -> None:
    """One start and one end; each block is opened and closed, one after another, by the right index."""
    kinds = [event.type for event in events]
    assert (kinds.count("message_start"), kinds[0]) == (1, "message_start")
    assert kinds[-2:] == ["message_delta", "message_stop"]
    current = -1
    is_open = False
    for event in events[1:-2]:
        if event.type == "content_block_start":
            assert not is_open
            is_open, current = True, current + 1
        assert is_open
        assert event.index == current
        if event.type == "content_block_stop":
            is_open = False
    assert not is_open


# Answers


@pytest.mark.parametrize("model", [NATIVE, NEUTRAL, "echo"])
def test_a_whole_answer_and_its_stream_are_the_same(client: anthropic.Anthropic, app: OpenAPI, model: str) -> None:
    whole = client.messages.create(**ask(model))
    events, message = streamed(client, **ask(model))

    assert_in_order(events)
    assert isinstance(whole.content[0], anthropic.types.TextBlock)
    assert whole.content[0].text
    assert message.model_dump(exclude={"id"}) == whole.model_dump(exclude={"id"})
    assert (message.model, message.role, message.stop_reason) == (model, "assistant", "end_turn")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert events[0].message.usage.input_tokens > 0
    row = max(entries(app), key=lambda entry: entry.created_at)
    assert (row.state, row.completion_tokens) == ("settled", message.usage.output_tokens)


@BOTH
def test_thoughts_text_and_parallel_calls_each_have_their_block(
    client: anthropic.Anthropic, provider: ScriptedProvider, model: str
) -> None:
    provider.script(reasoning="let me see", text="so it is", tool_calls=CALLS, tool_fragments=4, times=2)

    events, message = streamed(client, **ask(model, tools=[LOOK, GO]))
    whole = client.messages.create(**ask(model, tools=[LOOK, GO]))

    assert_in_order(events)
    for made in (message, whole):
        assert [block.type for block in made.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert made.content[0].thinking == "let me see"  # type: ignore[union-attr]
        assert made.content[1].text == "so it is"  # type: ignore[union-attr]
        assert [(one.id, one.name, one.input) for one in made.content[2:]] == [  # type: ignore[union-attr]
            (call["id"], call["name"], call["arguments"]) for call in CALLS
        ]
        assert made.stop_reason == "tool_use"
    fragments = [event for event in events if getattr(getattr(event, "delta", None), "type", "") == "input_json_delta"]
    assert len(fragments) >= 6


@pytest.mark.parametrize(
    ("model", "script", "reason"),
    [
        (NATIVE, {"stop_sequence": "END"}, "stop_sequence"),
        (NATIVE, {"finish_reason": "pause_turn"}, "pause_turn"),
        *[
            (model, script, reason)
            for model in (NATIVE, NEUTRAL)
            for script, reason in (
                ({}, "end_turn"),
                ({"finish_reason": "length"}, "max_tokens"),
                ({"finish_reason": "content_filter"}, "refusal"),
                ({"tool_calls": CALLS[:1]}, "tool_use"),
            )
        ],
    ],
)
def test_stop_reasons(
    client: anthropic.Anthropic, provider: ScriptedProvider, model: str, script: dict[str, Any], reason: str
) -> None:
    provider.script(times=2, text="so it is", **script)

    events, message = streamed(client, **ask(model))

    assert_in_order(events)
    assert message.stop_reason == client.messages.create(**ask(model)).stop_reason == reason


def test_a_call_without_arguments_has_an_empty_object(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    provider.script(tool_calls=[{"name": "look", "arguments": ""}], times=2)
    for message in (streamed(client, **ask(NEUTRAL))[1], client.messages.create(**ask(NEUTRAL))):
        assert [block.input for block in message.content] == [{}]  # type: ignore[union-attr]


def test_what_was_counted_is_told(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    provider.script(usage={"prompt_tokens": 11, "completion_tokens": 7}, times=2)
    for message in (streamed(client, **ask(NEUTRAL))[1], client.messages.create(**ask(NEUTRAL))):
        assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 7)


# What the provider is sent


def test_a_provider_of_the_same_protocol_gets_what_the_client_sent(
    client: anthropic.Anthropic, provider: ScriptedProvider
) -> None:
    system = [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}]
    body = ask(
        "friendly",
        system=system,
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
        extra_headers={"anthropic-beta": "files-api-2025-04-14"},
        extra_body={"container": "c_1"},
    )

    events, message = streamed(client, **body)

    assert message.model == events[0].message.model == "friendly"
    assert message.usage.cache_read_input_tokens == 2
    sent = provider.last()
    assert sent["headers"]["anthropic-version"] == "2026-10-21"
    assert sent["headers"]["anthropic-beta"] == "files-api-2025-04-14"
    assert sent["body"] == {
        "model": NATIVE,
        "max_tokens": 100,
        "messages": body["messages"],
        "system": system,
        "tools": body["tools"],
        "container": "c_1",
        "stream": True,
    }


def test_thoughts_keep_their_signature_on_the_way_there_and_back(
    client: anthropic.Anthropic, provider: ScriptedProvider
) -> None:
    provider.script(reasoning="let me see", tool_calls=CALLS[:1])
    first = streamed(client, **ask(NATIVE))[1]
    results: Any = [{"type": "tool_result", "tool_use_id": "call_a", "content": "a cat"}]
    turns: Any = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
        {"role": "user", "content": results},
    ]

    # The provider refuses thoughts whose signature is not its own.
    assert client.messages.create(model=NATIVE, max_tokens=50, messages=turns).stop_reason == "end_turn"


def test_others_get_the_same_in_their_words(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    turns: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                {"type": "document", "title": "A", "source": {"type": "text", "media_type": "text/plain", "data": "B"}},
                {
                    "type": "document",
                    "title": "a.pdf",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "call_a", "name": "look", "input": {"at": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_a",
                    "is_error": True,
                    "content": [{"type": "text", "text": "broken"}],
                },
                {"type": "text", "text": "and now?"},
            ],
        },
    ]

    client.messages.create(model=NEUTRAL, max_tokens=100, messages=turns, system=[{"type": "text", "text": "be kind"}])

    sent = provider.last()["body"]["messages"]
    assert sent[0] == {"role": "system", "content": "be kind"}
    assert sent[1]["content"] == [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "text", "text": "A\nB"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    assert json.loads(sent[2]["tool_calls"][0]["function"]["arguments"]) == {"at": 1}
    assert sent[3] == {"role": "tool", "tool_call_id": "call_a", "content": "Error: broken"}
    assert sent[4] == {"role": "user", "content": "and now?"}


def test_others_are_asked_for_the_same(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "string"}}}
    client.messages.create(
        **ask(
            NEUTRAL,
            tools=[LOOK],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            stop_sequences=["END"],
            output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}},
            thinking={"type": "adaptive"},
            metadata={"user_id": "somebody"},
            extra_body={"temperature": 0.5, "top_p": 0.9, "cache_control": {"type": "ephemeral"}},
            extra_headers={"anthropic-version": "2023-06-01"},
        )
    )

    body = provider.last()["body"]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": LOOK["input_schema"]},
        }
    ]
    assert body["response_format"]["json_schema"]["schema"] == schema
    names = ("tool_choice", "parallel_tool_calls", "stop", "reasoning_effort", "temperature", "top_p", "max_tokens")
    assert [body[name] for name in names] == ["required", False, ["END"], "high", 0.5, 0.9, 100]


def test_thinking_is_asked_of_any_provider(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 2048}
    for model in (NATIVE, NEUTRAL, "echo"):
        provider.script(reasoning="hm", text="so it is")
        text = "/echo reasoning=1 hello" if model == "echo" else "hello"
        message = streamed(client, **ask(model, text, max_tokens=4000, thinking=thinking))[1]
        assert [block.type for block in message.content] == ["thinking", "text"], model
        provider.forget_scripts()


NATIVE_ONLY: list[tuple[str, dict[str, Any]]] = [
    ("tools[0]", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("container", {"extra_body": {"container": "c_1"}}),
    ("something_new", {"extra_body": {"something_new": 1}}),
    ("speed", {"extra_body": {"speed": "fast"}}),
    ("messages[0].content[0]", {"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}),
    (
        "messages[0].content[0]",
        {
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}
            ]
        },
    ),
    ("top_k", {"extra_body": {"top_k": 5}}),
    (
        "messages[1]",
        {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "It is"}]},
    ),
]


@pytest.mark.parametrize(("field", "fields"), NATIVE_ONLY, ids=[field for field, _ in NATIVE_ONLY])
def test_what_only_the_protocol_can_say_is_refused_for_others(
    client: anthropic.Anthropic, provider: ScriptedProvider, field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**(ask(NEUTRAL) | fields))

    assert caught.value.type == "invalid_request_error"
    assert caught.value.error_code == "unsupported_parameter"
    assert field in str(caught.value)
    assert provider.log() == []


# Counting


def test_the_provider_counts_where_it_can_and_we_do_elsewhere(
    client: anthropic.Anthropic, provider: ScriptedProvider
) -> None:
    messages: Any = [{"role": "user", "content": "one two three"}]

    native = client.messages.count_tokens(model="friendly", messages=messages, system="be kind")
    assert native.input_tokens == 8
    assert provider.last()["body"]["model"] == NATIVE

    plain = client.messages.count_tokens(model="echo", messages=messages).input_tokens
    assert client.messages.count_tokens(model="echo", messages=messages, tools=[LOOK]).input_tokens > plain + 10 > 12


# Failures


ERRORS: list[tuple[dict[str, Any], type[anthropic.APIStatusError], str, str]] = [
    ({"status": 400}, anthropic.BadRequestError, "invalid_request_error", "provider_rejected"),
    ({"error": "context_length_exceeded"}, anthropic.BadRequestError, "invalid_request_error", "context_too_long"),
    ({"error": "content_filter"}, anthropic.BadRequestError, "invalid_request_error", "content_filtered"),
    ({"status": 401}, anthropic.InternalServerError, "api_error", "provider_denied"),
    ({"status": 429, "retry_after": 90}, anthropic.RateLimitError, "rate_limit_error", "provider_rate_limited"),
    ({"status": 500, "times": 9}, anthropic.OverloadedError, "overloaded_error", "provider_unavailable"),
    ({"status": 529, "times": 9}, anthropic.OverloadedError, "overloaded_error", "provider_unavailable"),
]


@BOTH
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("script", "expected", "kind", "code"), ERRORS, ids=lambda value: str(value)[:40])
def test_errors_before_an_answer_are_the_sdks_own(
    client: anthropic.Anthropic,
    provider: ScriptedProvider,
    model: str,
    stream: bool,
    script: dict[str, Any],
    expected: type[anthropic.APIStatusError],
    kind: str,
    code: str,
) -> None:
    provider.script(script)

    with pytest.raises(expected) as caught:
        list(client.messages.create(**ask(model), stream=stream))

    assert (caught.value.type, caught.value.error_code) == (kind, code)
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]
    if "retry_after" in script:
        assert int(caught.value.response.headers["retry-after"]) == 90
    if code == "context_too_long":
        assert "prompt is too long" in str(caught.value)


@BOTH
def test_an_error_in_mid_stream_is_an_event(
    client: anthropic.Anthropic, provider: ScriptedProvider, model: str
) -> None:
    provider.script(fault="error_in_200", words=10, times=9)
    said = []

    with pytest.raises(anthropic.APIStatusError) as caught:
        said += [event.type for event in client.messages.create(**ask(model), stream=True)]

    assert caught.value.type == "overloaded_error"


def test_requests_that_are_wrong(client: anthropic.Anthropic, address: str) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        (ask("echo", messages=[]), "messages"),
        (ask("echo", max_tokens="many"), "max_tokens"),
        (ask("echo", messages=[{"role": "robot", "content": "x"}]), "role"),
    ]
    for body, named in wrong:
        with pytest.raises(anthropic.BadRequestError, match=named) as caught:
            client.messages.create(**body)
        assert caught.value.type == "invalid_request_error"
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**ask("no-such-model-anywhere"))
    assert (missing.value.type, missing.value.error_code) == ("not_found_error", "model_not_found")
    with (
        anthropic.Anthropic(base_url=address, api_key="nonsense", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as unknown,
    ):
        stranger.messages.create(**ask("echo"))
    assert unknown.value.type == "authentication_error"
    assert unknown.value.request_id


# Keys


def test_a_key_in_either_header_and_what_it_allows(address: str, admin: Actor, provider: ScriptedProvider) -> None:
    limited = key_of(admin, models=["echo"], requests_per_minute=2)
    as_before: Any = {"authorization": anthropic.Omit(), "x-api-key": limited}  # as older versions send it
    with anthropic.Anthropic(base_url=address, api_key="-", default_headers=as_before, max_retries=0) as client:
        with pytest.raises(anthropic.PermissionDeniedError) as foreign:
            client.messages.create(**ask(NATIVE))
        raw = client.messages.with_raw_response.create(**ask("echo"))
        client.messages.create(**ask("echo"))
        with pytest.raises(anthropic.RateLimitError) as limit:
            client.messages.create(**ask("echo"))

    assert (foreign.value.type, foreign.value.error_code) == ("permission_error", "model_not_allowed")
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert raw.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert limit.value.type == "rate_limit_error"
    assert 0 < int(limit.value.response.headers["retry-after"]) <= 65


# Failover and leaving


def test_another_provider_goes_on_with_what_was_said(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    whole = "one two three four five six"
    provider.script(
        {"text": whole, "fault": "cut", "match": {"protocol": "anthropic"}, "times": 9},
        {"text": whole, "match": {"protocol": "openai"}},
    )

    events, message = streamed(client, **ask("either"))

    assert_in_order(events)
    assert [block.text for block in message.content] == [whole]  # type: ignore[union-attr]
    assert message.model == "either"


def test_another_provider_that_says_something_else_is_an_error(
    client: anthropic.Anthropic, provider: ScriptedProvider
) -> None:
    provider.script(
        {"text": "one two three four five six", "fault": "cut", "match": {"protocol": "anthropic"}, "times": 9},
        {"text": "Something quite different, at length.", "match": {"protocol": "openai"}},
    )

    with pytest.raises(anthropic.APIStatusError) as caught:
        streamed(client, **ask("either"))

    assert caught.value.error_code == "upstream_cut"


def test_an_attempt_that_said_nothing_leaves_no_trace(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    provider.script({"fault": "empty_answer", "times": 1}, {"text": "here it is"})

    events, message = streamed(client, **ask(NATIVE))

    assert_in_order(events)
    assert [block.text for block in message.content] == ["here it is"]  # type: ignore[union-attr]


@BOTH
def test_a_client_that_leaves_stops_the_provider(
    app: OpenAPI, client: anthropic.Anthropic, provider: ScriptedProvider, model: str
) -> None:
    provider.script(words=1000, pace_ms=10)

    with client.messages.stream(**ask(model, max_tokens=2000)) as stream:
        next(iter(stream.text_stream))

    assert provider.wait_closed()["end"] == "client_closed"
    row = eventually(lambda: max(entries(app), key=lambda entry: entry.created_at))
    eventually(lambda: max(entries(app), key=lambda entry: entry.created_at).state == "settled")
    assert row.user_id
