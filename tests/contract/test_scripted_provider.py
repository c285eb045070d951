"""The scripted provider is true to the wire: the services' own SDKs and plain HTTP read it, and its faults are real."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dashscope
import openai
import pytest
import trustme
import urllib3
from openai import OpenAI

from tests.scripted_provider.client import ScriptedProvider

ASK: Any = [{"role": "user", "content": "what is the capital of France"}]
ANSWER = "You said: what is the capital of France. That is all I know."
KEY = {"Authorization": "Bearer x-1"}
NOTICED_WITHIN_S = 0.05


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedProvider]:
    with ScriptedProvider.start() as started:
        yield started


@pytest.fixture
def provider(running: ScriptedProvider) -> ScriptedProvider:
    running.reset()
    return running


@pytest.fixture
def client(provider: ScriptedProvider) -> Iterator[OpenAI]:
    with OpenAI(base_url=provider.openai_url, api_key="x-1234", max_retries=0, timeout=5) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=5) as made:
        yield made


@pytest.fixture
def qwen(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Generation.call against the provider."""
    monkeypatch.setattr(dashscope, "base_http_api_url", provider.dashscope_url)

    def call(**options: Any) -> Any:
        defaults = {"api_key": "x-1", "model": "qwen-plus", "messages": ASK, "result_format": "message"}
        return dashscope.Generation.call(**(defaults | options))

    return call


def post(pool: urllib3.PoolManager, url: str, body: Any, **headers: str) -> urllib3.BaseHTTPResponse:
    return pool.request("POST", url, json=body, headers=KEY | headers)


def chat_body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "stream": True, "messages": ASK, **fields}


def chat_url(provider: ScriptedProvider) -> str:
    return f"{provider.openai_url}/chat/completions"


def connect(provider: ScriptedProvider) -> socket.socket:
    host, port = provider.base_url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def send_chat(connection: socket.socket) -> None:
    body = json.dumps(chat_body()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def data_events(raw: bytes) -> list[dict[str, Any]]:
    lines = raw.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def text_of(raw: bytes) -> str:
    deltas = (event["choices"][0]["delta"] for event in data_events(raw) if event.get("choices"))
    return "".join(delta.get("content") or "" for delta in deltas)


# OpenAI, through its SDK


def test_openai_stream_with_usage(client: OpenAI, provider: ScriptedProvider) -> None:
    chunks = list(
        client.chat.completions.create(model="m", messages=ASK, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])
    entry = provider.last()
    assert entry["text_sent"] == ANSWER
    assert entry["usage_reported"]["total_tokens"] == chunks[-1].usage.total_tokens
    assert (entry["end"], entry["key"], entry["messages"]) == ("complete", "1234", 1)


def test_openai_stream_without_usage_asked(client: OpenAI, provider: ScriptedProvider) -> None:
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert provider.last()["usage_reported"] is None


@pytest.mark.parametrize("usage", ["zero", {"prompt_tokens": 7, "completion_tokens": 9}, "off"])
def test_openai_scripted_usage(client: OpenAI, provider: ScriptedProvider, usage: Any) -> None:
    provider.script(usage=usage)
    completion = client.chat.completions.create(model="m", messages=ASK)
    assert completion.choices[0].message.content == ANSWER
    reported = completion.usage and (completion.usage.prompt_tokens, completion.usage.completion_tokens)
    assert reported == ({"zero": (0, 0), "off": None}[usage] if isinstance(usage, str) else (7, 9))


def test_openai_parallel_tool_calls_in_fragments(client: OpenAI, provider: ScriptedProvider) -> None:
    calls = [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "time", "arguments": '{"zone":"CET"}'}]
    provider.script(tool_calls=calls, tool_fragments=4, times=2)
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    with client.chat.completions.stream(model="m", messages=ASK, tools=tools) as stream:
        fragments = sum(event.type == "chunk" and bool(event.chunk.choices[0].delta.tool_calls) for event in stream)
        streamed = stream.get_final_completion().choices[0]
    assert fragments == 2 * (1 + 4)
    whole = client.chat.completions.create(model="m", messages=ASK, tools=tools).choices[0]
    for choice in (streamed, whole):
        assert choice.finish_reason == "tool_calls"
        found = [
            (call.function.name, call.function.arguments)
            for call in choice.message.tool_calls or []
            if call.type == "function"
        ]
        assert found == [("weather", '{"city":"Paris"}'), ("time", '{"zone":"CET"}')]


def test_openai_reasoning(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script(reasoning="let me think", text="done", finish_reason="insufficient_system_resource")
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "let me think"
    assert str(chunks[-1].choices[0].finish_reason) == "insufficient_system_resource"


@pytest.mark.parametrize(
    ("script", "expected", "code"),
    [
        ({"status": 400, "error": "context_length_exceeded"}, openai.BadRequestError, "context_length_exceeded"),
        ({"error": "content_filter"}, openai.BadRequestError, "content_filter"),
        ({"status": 401}, openai.AuthenticationError, "invalid_api_key"),
        ({"status": 403}, openai.PermissionDeniedError, "permission_denied"),
        ({"status": 404}, openai.NotFoundError, "not_found"),
        ({"status": 429, "retry_after": 2}, openai.RateLimitError, "rate_limit_exceeded"),
        ({"error": "insufficient_quota"}, openai.RateLimitError, "insufficient_quota"),
        ({"status": 500}, openai.InternalServerError, None),
        ({"status": 503}, openai.InternalServerError, None),
        ({"status": 529}, openai.InternalServerError, "overloaded"),
    ],
)
def test_openai_errors(
    client: OpenAI, provider: ScriptedProvider, script: dict[str, Any], expected: type[openai.APIStatusError], code: str
) -> None:
    provider.script(script)
    with pytest.raises(expected) as caught:
        client.chat.completions.create(model="m", messages=ASK, stream=True)
    assert caught.value.code == code
    assert caught.value.response.headers.get("retry-after") == (
        str(script["retry_after"]) if "retry_after" in script else None
    )
    assert provider.last()["status"] == caught.value.status_code


def test_openai_keys_and_models(client: OpenAI, provider: ScriptedProvider) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="bad").chat.completions.create(model="m", messages=ASK)
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(model="no-such-model", messages=ASK)
    assert "qwen-plus" in [model.id for model in client.models.list()]
    assert client.models.retrieve("qwen-plus").id == "qwen-plus"


def test_openai_embeddings(client: OpenAI, provider: ScriptedProvider) -> None:
    texts = ["the red fox", "a red fox", "stock market report"]
    first, near, far = (
        item.embedding for item in client.embeddings.create(model="e", input=texts, dimensions=512).data
    )
    assert len(first) == 512
    products = [sum(a * b for a, b in zip(first, other, strict=True)) for other in (first, near, far)]
    assert products[0] == pytest.approx(1, abs=1e-5)
    assert products[0] > products[1] > products[2] + 0.3
    provider.script(match={"path": "/embeddings"}, status=429)
    with pytest.raises(openai.RateLimitError):
        client.embeddings.create(model="e", input="again")


def test_openai_max_tokens_cuts(client: OpenAI) -> None:
    choice = client.chat.completions.create(model="m", messages=ASK, max_tokens=2).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("length", "You said: ")


# Scripts


def test_scripts_are_taken_in_order_then_the_default(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script({"status": 500}, {"text": "second", "match": {"model": "other"}}, {"text": "third"})
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m", messages=ASK)
    answers = [client.chat.completions.create(model="m", messages=ASK).choices[0].message.content for _ in range(2)]
    assert answers == ["third", ANSWER]
    assert client.chat.completions.create(model="other", messages=ASK).choices[0].message.content == "second"


def test_directive_in_the_message(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": 'again [[script {"status": 503, "times": 1}]]'}]
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m", messages=messages)
    completion = client.chat.completions.create(model="m", messages=messages)
    assert completion.choices[0].message.content == "You said: again. That is all I know."


def test_a_misspelt_script_is_refused(provider: ScriptedProvider) -> None:
    with pytest.raises(ValueError, match="pace"):
        provider.script(pace=3)


def test_pacing_keeps_its_schedule(provider: ScriptedProvider, client: OpenAI) -> None:
    provider.script(words=21, first_token_ms=100, pace_ms=10)
    started = time.monotonic()
    arrivals = [
        time.monotonic() - started for chunk in client.chat.completions.create(model="m", messages=ASK, stream=True)
    ]
    assert arrivals[0] == pytest.approx(0.1, abs=0.06)
    assert arrivals[-1] - arrivals[0] == pytest.approx(0.2, abs=0.06)


# DashScope, through its SDK


def test_dashscope_whole_answer(qwen: Any, provider: ScriptedProvider) -> None:
    response = qwen()
    assert response.status_code == HTTPStatus.OK
    assert response.output.choices[0].message.content == ANSWER
    assert response.output.choices[0].finish_reason == "stop"
    assert response.usage.input_tokens + response.usage.output_tokens == response.usage.total_tokens > 0
    assert response.request_id == provider.last()["id"]


def test_dashscope_text_format(qwen: Any) -> None:
    assert qwen(result_format="text").output.text == ANSWER


@pytest.mark.parametrize("incremental", [True, False])
def test_dashscope_stream(qwen: Any, provider: ScriptedProvider, incremental: bool) -> None:
    events = list(qwen(stream=True, incremental_output=incremental))
    texts = [event.output.choices[0].message.content for event in events]
    assert ("".join(texts) if incremental else texts[-1]) == ANSWER
    assert [event.output.choices[0].finish_reason for event in events] == ["null"] * (len(events) - 1) + ["stop"]
    assert all(event.usage.total_tokens for event in events)
    assert provider.last()["usage_reported"]["output_tokens"] == events[-1].usage.output_tokens


def test_dashscope_reasoning_and_tools(qwen: Any, provider: ScriptedProvider) -> None:
    provider.script(
        reasoning="hm well", tool_calls=[{"name": "weather", "arguments": {"city": "Paris"}}], tool_fragments=3
    )
    events = list(qwen(stream=True, incremental_output=True))
    messages = [event.output.choices[0].message for event in events]
    assert "".join(message.get("reasoning_content") or "" for message in messages) == "hm well"
    calls = [message["tool_calls"][0] for message in messages if message.get("tool_calls")]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city":"Paris"}'
    assert len(calls) == 4
    assert events[-1].output.choices[0].finish_reason == "tool_calls"


def test_dashscope_cumulative_lines(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    provider.script(tokens=["one ", "two"])
    body = {"model": "q", "input": {"messages": ASK}, "parameters": {"result_format": "message"}}
    url = f"{provider.dashscope_url}/services/aigc/text-generation/generation"
    raw = post(pool, url, body, **{"X-DashScope-SSE": "enable"}).data.decode()
    first, second, last = (block.split("\n") for block in raw.strip().split("\n\n"))
    assert first[:3] == ["id:1", "event:result", ":HTTP_STATUS/200"]
    contents = [
        json.loads(block[3][5:])["output"]["choices"][0]["message"]["content"] for block in (first, second, last)
    ]
    assert contents == ["one ", "one two", "one two"]


def test_dashscope_multimodal(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashscope, "base_http_api_url", provider.dashscope_url)
    messages = [{"role": "user", "content": [{"image": "https://example.com/cat.png"}, {"text": "a cat"}]}]
    events: Any = dashscope.MultiModalConversation.call(
        api_key="x", model="qwen-vl-max", messages=messages, stream=True, incremental_output=True
    )
    parts = [part["text"] for event in events for part in event.output.choices[0].message.content]
    assert "".join(parts) == "You said: a cat. That is all I know."


@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        ({}, {"api_key": "bad"}, (401, "InvalidApiKey")),
        ({}, {"model": "no-such-model"}, (404, "ModelNotFound")),
        ({"status": 429}, {}, (429, "Throttling.RateQuota")),
        ({"status": 400, "error": "content_filter"}, {}, (400, "DataInspectionFailed")),
        ({"status": 500}, {}, (500, "InternalError")),
    ],
)
def test_dashscope_errors(
    qwen: Any, provider: ScriptedProvider, script: dict[str, Any], options: dict[str, str], expected: tuple[int, str]
) -> None:
    if script:
        provider.script(script)
    response = qwen(**options)
    assert (response.status_code, response.code) == expected
    assert response.message
    assert response.request_id == provider.last()["id"]


def test_dashscope_error_inside_the_stream(qwen: Any, provider: ScriptedProvider) -> None:
    provider.script(words=6, fault="error_in_200", after=2, error="InternalError.Algo", message="it broke")
    *answers, failure = qwen(stream=True, incremental_output=True)
    assert len(answers) == 2
    assert (failure.code, failure.message, failure.output) == ("InternalError.Algo", "it broke", None)


# Dify, by plain HTTP


def ask_dify(provider: ScriptedProvider, **fields: Any) -> dict[str, Any]:
    return {"query": "hi there", "inputs": {}, "user": "ann", "response_mode": "streaming", **fields}


def test_dify_stream(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    provider.script(ping_every=2, replace="Not that.", file_url="https://example.com/cat.png")
    response = post(pool, f"{provider.dify_url}/chat-messages", ask_dify(provider))
    assert b"\n\nevent: ping\n\n" in response.data
    events = data_events(response.data)
    answer = "".join(event["answer"] for event in events if event["event"] == "message")
    assert answer == "You said: hi there. That is all I know."
    assert [event["event"] for event in events[-3:]] == ["message_file", "message_replace", "message_end"]
    assert len({(event["task_id"], event["conversation_id"], event["message_id"]) for event in events}) == 1
    usage = events[-1]["metadata"]["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert provider.last()["usage_reported"]["total_tokens"] == usage["total_tokens"]


@pytest.mark.parametrize(
    ("app", "kinds"),
    [
        ("agent", {"agent_thought", "agent_message", "message_end"}),
        ("new_agent", {"agent_thought", "agent_message", "message", "message_end"}),
        ("chatflow", {"workflow_started", "agent_thought", "message", "message_end", "workflow_finished"}),
    ],
)
def test_dify_apps(pool: urllib3.PoolManager, provider: ScriptedProvider, app: str, kinds: set[str]) -> None:
    provider.script(app=app, text="so it is", tool_calls=[{"name": "look", "arguments": {"for": "it"}}])
    events = data_events(post(pool, f"{provider.dify_url}/chat-messages", ask_dify(provider)).data)
    assert {event["event"] for event in events} == kinds
    if app == "new_agent":
        assert [event["answer"] for event in events if event["event"] == "message"] == ["so it is"]
    if app == "chatflow":
        assert [event["event"] for event in events[-2:]] == ["message_end", "workflow_finished"]


def test_dify_conversations_belong_to_their_user(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    url = f"{provider.dify_url}/chat-messages"
    first = post(pool, url, ask_dify(provider, response_mode="blocking")).json()
    assert (first["event"], first["mode"], first["answer"]) == (
        "message",
        "chat",
        "You said: hi there. That is all I know.",
    )
    known = first["conversation_id"]
    again = post(pool, url, ask_dify(provider, response_mode="blocking", conversation_id=known))
    assert again.json()["conversation_id"] == known
    for stranger in (
        ask_dify(provider, conversation_id=known, user="bob"),
        ask_dify(provider, conversation_id="4" * 36),
    ):
        refused = post(pool, url, stranger)
        assert (refused.status, refused.json()["code"]) == (404, "not_found")
    named = post(pool, f"{provider.dify_url}/conversations/{known}/name", {"auto_generate": True, "user": "ann"})
    assert (named.status, named.json()["id"]) == (200, known)


def test_dify_stop_needs_the_same_user(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    provider.script(words=1000, pace_ms=5)
    url = f"{provider.dify_url}/chat-messages"
    response = pool.request("POST", url, json=ask_dify(provider), headers=KEY, preload_content=False)
    stream = response.stream()
    task = data_events(next(stream))[0]["task_id"]
    assert post(pool, f"{url}/{task}/stop", {"user": "bob"}).json() == {"result": "success"}
    time.sleep(0.05)
    assert provider.stats()["open_streams"] == 1
    assert post(pool, f"{url}/{task}/stop", {"user": "ann"}).json() == {"result": "success"}
    *_, last = data_events(b"".join(stream))
    assert last["event"] == "message_end"
    entry = provider.log()[0]
    assert entry["end"] == "stopped"
    assert entry["usage_reported"]["completion_tokens"] == len(entry["text_sent"].split()) < 1000


def test_dify_errors(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    url = f"{provider.dify_url}/chat-messages"
    assert post(pool, url, ask_dify(provider), Authorization="Bearer bad").json()["code"] == "unauthorized"
    assert post(pool, url, ask_dify(provider, user="")).json()["code"] == "invalid_param"
    provider.script(
        {"status": 429}, {"fault": "error_in_200", "after": 1}, {"fault": "workflow_failed", "app": "chatflow"}
    )
    limited = post(pool, url, ask_dify(provider))
    assert (limited.status, limited.json()["code"], limited.json()["status"]) == (429, "too_many_requests", 429)
    failed = post(pool, url, ask_dify(provider))
    assert failed.status == 200
    *_, error = data_events(failed.data)
    assert error["event"] == "error"
    assert "task_id" not in error
    *_, finished = data_events(post(pool, url, ask_dify(provider)).data)
    assert (finished["event"], finished["data"]["status"]) == ("workflow_finished", "failed")


def test_dify_upload_and_parameters(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    fields: Any = {"file": ("cat.png", b"not really", "image/png"), "user": "ann"}
    uploaded = pool.request("POST", f"{provider.dify_url}/files/upload", fields=fields, headers=KEY)
    assert uploaded.status == 201
    assert (uploaded.json()["name"], uploaded.json()["mime_type"]) == ("cat.png", "image/png")
    assert "user_input_form" in pool.request("GET", f"{provider.dify_url}/parameters", headers=KEY).json()


# Faults


@pytest.mark.parametrize("gone", ["close", "reset"])
def test_the_client_leaving_is_noticed_at_once(provider: ScriptedProvider, gone: str) -> None:
    provider.script(words=100, pace_ms=1000)
    with connect(provider) as connection:
        send_chat(connection)
        while b'"content":"the "' not in connection.recv(65536):
            pass
        if gone == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = time.monotonic()
    entry = provider.wait_closed()
    assert entry["end"] == "client_closed"
    assert 0 <= entry["closed_mono"] - left < NOTICED_WITHIN_S
    assert provider.stats()["open_streams"] == 0


@pytest.mark.parametrize("fault", ["stall", "no_first_byte", "silent_headers"])
def test_silences_last_until_the_client_leaves(
    pool: urllib3.PoolManager, provider: ScriptedProvider, fault: str
) -> None:
    provider.script(words=10, fault=fault, after=4)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("POST", chat_url(provider), json=chat_body(), headers=KEY, timeout=urllib3.Timeout(read=0.2))
    entry = provider.wait_closed()
    assert (entry["end"], entry["fault"]) == ("client_closed", fault)
    assert len(entry["text_sent"].split()) == (4 if fault == "stall" else 0)
    assert (entry["first_byte_at"] is None) == (fault != "stall")


def test_keepalives_are_no_events(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    provider.script(fault="keepalive_comments", after=0, seconds=0.01)
    response = pool.request("POST", chat_url(provider), json=chat_body(), headers=KEY, preload_content=False)
    stream = response.stream()
    assert b'"role":"assistant"' in next(stream)
    assert [next(stream) for _ in range(3)] == [b": keep-alive\n\n"] * 3
    response.close()
    entry = provider.wait_closed()
    assert (entry["end"], entry["events_sent"]) == ("client_closed", 1)


def test_half_close_keeps_the_other_half(provider: ScriptedProvider) -> None:
    provider.script(words=10, fault="half_close", after=4)
    with connect(provider) as connection:
        send_chat(connection)
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
        assert raw.count(b'"content":') == 1 + 4
        assert provider.last()["end"] is None
    assert provider.wait_closed()["end"] == "client_closed"


def test_reset(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    provider.script(words=10, fault="reset", after=4)
    with pytest.raises(urllib3.exceptions.ProtocolError, match="ConnectionResetError"):
        post(pool, chat_url(provider), chat_body())
    assert provider.last()["end"] == "fault:reset"
    assert len(provider.last()["text_sent"].split()) == 4


@pytest.mark.parametrize("fault", ["cut", "no_finish"])
def test_cut_looks_like_an_end(client: OpenAI, provider: ScriptedProvider, fault: str) -> None:
    provider.script(words=10, fault=fault, after=4)
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks).split()) == 4
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    assert provider.last()["end"] == f"fault:{fault}"


def test_truncated_chunked(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script(fault="truncated_chunked")
    stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
    with pytest.raises(openai.APIConnectionError):
        list(stream)


def test_error_inside_a_200(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script(fault="error_in_200", message="it broke")
    with pytest.raises(openai.APIError, match="it broke"):
        list(client.chat.completions.create(model="m", messages=ASK, stream=True))


def test_refusals(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script(fault="refuse")
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=ASK)
    assert provider.last()["end"] == "fault:refuse"
    with pytest.raises(openai.APIConnectionError):
        client.with_options(base_url=provider.refused_url).chat.completions.create(model="m", messages=ASK)
    assert len(provider.log()) == 1


def test_faults_that_leave_an_answer(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    faults = ("html_200", "redirect", "wrong_content_type", "no_end_marker", "duplicate_done", "crlf", "cr", "u2028")
    raws = {}
    for fault in faults:
        provider.script(fault=fault, text="one two three four")
        response = pool.request(
            "POST",
            chat_url(provider),
            json=chat_body(),
            headers=KEY,
            redirect=False,
        )
        raws[fault] = response.data
        kinds = {"html_200": "text/html", "wrong_content_type": "text/plain"}
        if fault == "redirect":
            assert (response.status, response.headers["Location"]) == (307, "/_redirected")
        else:
            assert response.headers["Content-Type"].startswith(kinds.get(fault, "text/event-stream"))
    assert raws["html_200"].startswith(b"<!DOCTYPE")
    assert text_of(raws["wrong_content_type"]) == text_of(raws["no_end_marker"]) == "one two three four"
    assert (raws["no_end_marker"].count(b"[DONE]"), raws["duplicate_done"].count(b"[DONE]")) == (0, 2)
    assert b"\r\n\r\n" in raws["crlf"]
    assert b"\r\rdata: [DONE]\r\r" in raws["cr"]
    assert b"\n" not in raws["cr"]
    assert text_of(raws["u2028"]) == "one two \u2028 three four"


def test_broken_contents(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    url = chat_url(provider)
    provider.script(
        {"fault": "invalid_utf8"},
        {"fault": "malformed_event"},
        {"fault": "huge_line", "size": 3_000_000},
        {"fault": "empty_answer"},
        {"fault": "gzip_bomb", "size": 20 * 1024 * 1024},
        {"fault": "garbage", "after": 0},
    )
    with pytest.raises(UnicodeDecodeError):
        post(pool, url, chat_body()).data.decode()
    with pytest.raises(json.JSONDecodeError):
        data_events(post(pool, url, chat_body()).data)
    assert max(len(line) for line in post(pool, url, chat_body()).data.split(b"\n")) > 3_000_000
    empty = post(pool, url, chat_body()).data
    assert (text_of(empty), empty.endswith(b"data: [DONE]\n\n")) == ("", True)
    packed = pool.request(
        "POST",
        url,
        json=chat_body(),
        headers=KEY,
        decode_content=False,
        preload_content=False,
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.read(decode_content=False)) < 100_000
    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(pool, url, chat_body())


def test_endless_goes_on_until_the_client_leaves(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    provider.script(fault="endless")
    url = chat_url(provider)
    response = pool.request("POST", url, json=chat_body(), headers=KEY, preload_content=False)
    assert sum(len(part) for part in itertools.islice(response.stream(), 2000)) > 100_000
    response.close()
    assert provider.wait_closed()["end"] == "client_closed"


def test_split_bytes_and_trickle_cut_through_characters(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    url = chat_url(provider)
    provider.script({"text": "你好", "split_bytes": 3}, {"text": "你好", "fault": "trickle", "seconds": 0.0005})
    for size in (3, 1):
        response = pool.request("POST", url, json=chat_body(), headers=KEY, preload_content=False)
        parts = list(response.read_chunked())
        assert max(len(part) for part in parts) == size
        assert text_of(b"".join(parts)) == "你好"


def test_faults_in_a_body(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    url = chat_url(provider)
    body = chat_body(stream=False)
    provider.script(
        {"fault": "cut"}, {"fault": "malformed_event"}, {"fault": "error_in_200"}, {"fault": "truncated_chunked"}
    )
    for _ in range(2):
        with pytest.raises(json.JSONDecodeError):
            json.loads(post(pool, url, body).data)
    assert "error" in post(pool, url, body).json()
    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(pool, url, body)


def test_slow_reading(pool: urllib3.PoolManager, provider: ScriptedProvider) -> None:
    # What comes in the same read as the head is in already: at most 64 KiB.
    provider.script(read_bytes_per_s=400_000)
    started = time.monotonic()
    post(pool, chat_url(provider), chat_body(padding="x" * 200_000))
    assert time.monotonic() - started > 0.25


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with (
        ScriptedProvider.start(
            tls=(tmp_path / "server.pem", tmp_path / "server.pem"), default={"pace_ms": 20}
        ) as secure,
        urllib3.PoolManager(ca_certs=str(tmp_path / "ca.pem"), retries=False) as pool,
    ):
        url = chat_url(secure)
        assert text_of(post(pool, url, chat_body()).data) == ANSWER
        secure.script(words=100, pace_ms=1000)
        response = pool.request("POST", url, json=chat_body(), headers=KEY, preload_content=False)
        stream = response.stream()
        next(stream)
        left = time.monotonic()
        response.close()
        assert 0 <= secure.wait_closed()["closed_mono"] - left < NOTICED_WITHIN_S


# What OpenAI's requests may want of an answer


def test_openai_several_answers_with_probabilities(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script(tokens=["one ", "two"], usage="on", times=2)
    asked: Any = {"model": "m", "messages": ASK, "n": 2, "logprobs": True, "top_logprobs": 3}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert [choice.index for choice in whole.choices] == [0, 1]
    for choice in whole.choices:
        assert choice.message.content == "one two"
        assert choice.logprobs is not None
        assert [len(token.top_logprobs) for token in choice.logprobs.content or ()] == [3, 3]
        streamed = [one.choices[0] for one in chunks if one.choices[0].index == choice.index]
        assert "".join(one.delta.content or "" for one in streamed) == "one two"
        assert [one.logprobs.content[0].token for one in streamed if one.logprobs and one.logprobs.content] == [
            "one ",
            "two",
        ]
        assert streamed[-1].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 4


def test_openai_refusal(client: OpenAI, provider: ScriptedProvider) -> None:
    provider.script(refusal="I cannot do that.", times=2)
    message = client.chat.completions.create(model="m", messages=ASK).choices[0].message
    with client.chat.completions.stream(model="m", messages=ASK) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert (message.content, message.refusal) == (None, "I cannot do that.")
    assert streamed.refusal == "I cannot do that."
    assert provider.last()["text_sent"] == "I cannot do that."


def test_openai_structured_output(client: OpenAI, provider: ScriptedProvider) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    completion = client.chat.completions.create(model="m", messages=ASK, response_format=wanted)
    assert json.loads(completion.choices[0].message.content or "") == {"n": 0}
    completion = client.chat.completions.create(model="m", messages=ASK, response_format={"type": "json_object"})
    assert json.loads(completion.choices[0].message.content or "")
    provider.script(text="no JSON")
    completion = client.chat.completions.create(model="m", messages=ASK, response_format=wanted)
    assert completion.choices[0].message.content == "no JSON"
