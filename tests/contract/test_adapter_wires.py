"""What each adapter says in its provider's own words, and how it takes the provider's particular ones."""

import http.server
import inspect
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from adapters.base_adapter import BaseAdapter, Deadlines, UpstreamCall
from adapters.failures import FailureMap
from domain import errors
from domain.chat import ChatRequest, PromptMessage
from domain.deltas import Finish, ImageDelta, ReasoningDelta, Replacement, TextDelta, UpstreamState, UsageReport
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult
from tests.contract.adapter_cases import CASES, answer, ask, make, provider, running, text  # noqa: F401
from tests.scripted_provider.client import ScriptedProvider

OPENAI, QWEN, QWEN_COMPATIBLE, ANTHROPIC, DIFY = CASES
PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER, ASSISTANT = MessageRole.USER, MessageRole.ASSISTANT


def conversation(*turns: tuple[MessageRole, list[Part]], model: str = "some-model", **fields: Any) -> ChatRequest:
    return ChatRequest(model, [PromptMessage(role, parts) for role, parts in turns], end_user="usr_1", **fields)


def sent(provider: ScriptedProvider) -> dict[str, Any]:
    body: dict[str, Any] = provider.last()["body"]
    return body


# --- OpenAI


def test_openai_gets_the_whole_request(provider: ScriptedProvider) -> None:
    request = ask("hello", system="be kind", temperature=0.5, max_tokens=50)

    answer(make(OPENAI, provider.openai_url), request)

    assert sent(provider) == {
        "model": "some-model",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_tokens": 50,
    }
    assert provider.last()["key"] == "7890"


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5-mini"])
def test_openai_reasoning_models_have_their_own_limit_and_no_temperature(
    provider: ScriptedProvider, model: str
) -> None:
    answer(make(OPENAI, provider.openai_url), ask(model=model, temperature=0.5, max_tokens=50))

    assert sent(provider)["max_completion_tokens"] == 50
    assert not {"temperature", "max_tokens"} & sent(provider).keys()


def test_openai_configuration_reaches_the_request(provider: ScriptedProvider) -> None:
    model = {"name": "some-model", "stream_usage": False}
    extra = {"top_k": 3, "temperature": None}
    adapter = make(OPENAI, provider.openai_url, models=[model], extra_body=extra, send_user=True)

    answer(adapter, ask(temperature=0.5))

    assert sent(provider)["top_k"] == 3
    assert sent(provider)["user"] == "usr_1"
    assert not {"stream_options", "temperature"} & sent(provider).keys()


def test_openai_headers_win(provider: ScriptedProvider) -> None:
    answer(make(OPENAI, provider.openai_url, headers={"X-Team": "blue", "User-Agent": "mine"}))

    assert provider.last()["headers"]["x-team"] == "blue"
    assert provider.last()["headers"]["user-agent"] == "mine"
    assert provider.last()["headers"]["accept-encoding"] == "identity"


def test_openai_without_a_key_sends_none(provider: ScriptedProvider) -> None:
    with pytest.raises(errors.ProviderDenied):
        answer(make(OPENAI, provider.openai_url, api_key=""))


def test_openai_history_with_tools_pictures_and_files(provider: ScriptedProvider) -> None:
    request = conversation(
        (USER, [Text("look "), Image("https://x.test/a.png"), FileReference("https://x.test/b.pdf", "b.pdf")]),
        (
            ASSISTANT,
            [
                Reasoning("I should look"),
                Text("Looking."),
                ToolCall("call_1", "look", '{"at": 1}'),
                ToolCall("call_lost", "look", "{}"),
                ToolResult("call_1", "look", "a cat"),
                ToolResult("call_stray", "look", "?"),
                Text("A cat."),
                Image(PIXEL, "cat"),
            ],
        ),
        (USER, [Text("and now?")]),
        model="deepseek-reasoner",
    )

    answer(make(OPENAI, provider.openai_url), request)

    assert sent(provider)["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look "},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "text", "text": "[b.pdf](https://x.test/b.pdf)"},
            ],
        },
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
            ],
            "reasoning_content": "I should look",
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
        {"role": "assistant", "content": "A cat.[picture: cat]"},
        {"role": "user", "content": "and now?"},
    ]


def test_openai_reasoning_is_not_sent_back_to_models_that_did_not_ask(provider: ScriptedProvider) -> None:
    turns = [
        (USER, [Text("a")]),
        (ASSISTANT, [Reasoning("hm"), ToolCall("c", "f", ""), ToolResult("c", "f", "r"), Text("b")]),
        (USER, [Text("c")]),
    ]

    answer(make(OPENAI, provider.openai_url), conversation(*turns, model="gpt-4o"))  # type: ignore[arg-type]

    assert "reasoning_content" not in json.dumps(sent(provider))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("eos", "stop"),
    ],
)
def test_openai_finish_reasons(provider: ScriptedProvider, reason: str, finish: Any) -> None:
    provider.script(finish_reason=reason)

    assert answer(make(OPENAI, provider.openai_url))[-1] == Finish(finish)


def test_openai_out_of_resources_is_a_failure(provider: ScriptedProvider) -> None:
    provider.script(finish_reason="insufficient_system_resource")

    with pytest.raises(errors.ProviderUnavailable):
        answer(make(OPENAI, provider.openai_url))


def test_openai_answer_with_a_reason_but_no_end_marker_is_complete(provider: ScriptedProvider) -> None:
    provider.script(fault="no_end_marker")

    assert answer(make(OPENAI, provider.openai_url))[-1] == Finish("stop")


END_OF_ANSWER = {
    "chat completions": (
        OPENAI,
        [b'data: {"choices": [{"index": 0, "delta": {"content": "whole"}, "finish_reason": "stop"}]}'],
        b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}',
    ),
    "DashScope": (
        QWEN,
        [b'data: {"output": {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}}'],
        b'data: {"output": {"choices": []}, "usage": {"input_tokens": 3, "output_tokens": 1}}',
    ),
}


@pytest.mark.parametrize("wire", END_OF_ANSWER)
def test_an_answer_with_its_finish_reason_does_not_wait_for_a_provider_that_hangs(wire: str) -> None:
    case, said, _ = END_OF_ANSWER[wire]
    began = time.monotonic()

    with hanging(said) as url:
        deltas = answer(make(case, url), deadlines=Deadlines(idle=60))

    assert deltas == [TextDelta("whole"), Finish("stop")]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("wire", END_OF_ANSWER)
def test_the_count_that_follows_the_finish_reason_is_waited_for(wire: str) -> None:
    case, said, count = END_OF_ANSWER[wire]

    with hanging([*said, count], pause_s=0.5) as url:
        deltas = answer(make(case, url), deadlines=Deadlines(idle=60))

    assert [type(delta) for delta in deltas] == [TextDelta, UsageReport, Finish]


@contextmanager
def hanging(frames: list[bytes], pause_s: float = 0) -> Iterator[str]:
    """A provider that says these frames, with pauses in between, and then nothing more."""
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for frame in frames:
                self.wfile.write(frame + b"\n\n")
                over.wait(pause_s)
            over.wait(60)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        over.set()
        server.shutdown()


# --- anything compatible, from a server that says exactly what it is told


@contextmanager
def saying(body: bytes, content_type: str = "text/event-stream", status: int = 200) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: " + (c if isinstance(c, bytes) else json.dumps(c).encode()) + b"\n\n" for c in chunks)


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def test_dialects_of_compatible_servers() -> None:
    body = events(
        {"choices": [], "prompt_filter_results": [{"x": 1}]},
        delta(role="assistant", content=None, reasoning="hm", reasoning_details=[{}]),
        delta(content="a", refusal=None, tool_calls=None, audio={}),
        {"choices": [{"index": 1, "delta": {"content": "another choice"}, "finish_reason": None}]},
        {"choices": [{"delta": {"content": "b"}}], "usage": {"prompt_tokens": 3, "total_tokens": 4}},
        delta(refusal="I will not."),
        delta("stop"),
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 2},
                "prompt_cache_hit_tokens": 4,
                "cost": 0.1,
            },
        },
        b"[DONE]",
        b"[DONE]",
        b"after the end",
    )
    with saying(body) as url:
        deltas = answer(make(OPENAI, url))

    assert text(deltas) == "abI will not."
    assert [found.text for found in deltas if isinstance(found, ReasoningDelta)] == ["hm"]
    usage = next(found.usage for found in deltas if isinstance(found, UsageReport))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens) == (9, 5, 4, 2)


def test_an_odd_count_does_not_cost_the_answer() -> None:
    with saying(events(delta("stop", content="fine"), {"choices": [], "usage": {"prompt_tokens": "many"}})) as url:
        deltas = answer(make(OPENAI, url))

    assert deltas == [TextDelta("fine"), Finish("stop")]


def test_tool_calls_without_an_index_are_told_apart_by_their_place() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": "{}"}}, {"id": "b", "function": {"name": "g"}}]
    with saying(events(delta(tool_calls=calls), b"[DONE]")) as url:
        deltas = answer(make(OPENAI, url))

    assert [getattr(found, "index", None) for found in deltas[:2]] == [0, 1]
    assert deltas[-1] == Finish("tool_calls")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"error": {"message": "no such thing", "code": 400}}', "application/json", errors.ProviderRejected),
        (b'{"id": "x", "choices": []}', "application/json", errors.ProviderGarbage),
        (b"", "text/event-stream", errors.UpstreamCut),
        (events({"error": {"message": "overloaded", "code": 503}}), "text/event-stream", errors.ProviderUnavailable),
        (events({"choices": "what"}), "text/event-stream", errors.ProviderGarbage),
        (events(b"[" * 100_000), "text/event-stream", errors.ProviderGarbage),
        (events([1, 2]), "text/event-stream", errors.ProviderGarbage),
    ],
)
def test_what_compatible_servers_get_wrong(
    body: bytes, content_type: str, expected: type[errors.ProviderError]
) -> None:
    with saying(body, content_type) as url, pytest.raises(expected):
        answer(make(OPENAI, url))


# --- DashScope


def test_qwen_native_text(provider: ScriptedProvider) -> None:
    adapter = make(QWEN, provider.dashscope_url, enable_thinking=True, extra_body={"top_k": 3})

    answer(adapter, ask("hello", model="qwen-plus", system="be kind", temperature=0.5, max_tokens=50))

    assert provider.last()["path"].endswith("/services/aigc/text-generation/generation")
    assert provider.last()["headers"]["x-dashscope-sse"] == "enable"
    assert sent(provider) == {
        "model": "qwen-plus",
        "input": {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]},
        "parameters": {
            "result_format": "message",
            "incremental_output": True,
            "temperature": 0.5,
            "max_tokens": 50,
            "enable_thinking": True,
            "top_k": 3,
        },
    }


@pytest.mark.parametrize(
    ("model", "parts"), [("qwen-plus", [Text("see"), Image(PIXEL)]), ("qwen-vl-max", [Text("see")])]
)
def test_qwen_native_pictures(provider: ScriptedProvider, model: str, parts: list[Part]) -> None:
    provider.script(text="a cat", reasoning="looking")

    deltas = answer(make(QWEN, provider.dashscope_url), ask(*parts, model=model, system="be kind"))

    assert provider.last()["path"].endswith("/services/aigc/multimodal-generation/generation")
    system, user = sent(provider)["input"]["messages"]
    assert system == {"role": "system", "content": [{"text": "be kind"}]}
    assert user["content"] == [{"text": "see"}, {"image": PIXEL}][: len(parts)]
    assert text(deltas) == "a cat"


def test_qwen_at_the_compatible_endpoint_speaks_openai(provider: ScriptedProvider) -> None:
    answer(make(QWEN_COMPATIBLE, provider.compatible_url, enable_thinking=False), ask(model="qwen-plus"))

    assert provider.last()["path"].endswith("/compatible-mode/v1/chat/completions")
    assert sent(provider)["enable_thinking"] is False


# --- Dify


def test_dify_gets_the_last_message_of_its_user(provider: ScriptedProvider) -> None:
    deltas = answer(make(DIFY, provider.dify_url), ask("hello", temperature=0.5))

    body = sent(provider)
    assert (body["query"], body["inputs"], body["user"], body["response_mode"]) == ("hello", {}, "usr_1", "streaming")
    assert "conversation_id" not in body
    assert isinstance(deltas[0], UpstreamState)
    assert len([found for found in deltas if isinstance(found, UpstreamState)]) == 1


def test_dify_goes_on_with_its_conversation(provider: ScriptedProvider) -> None:
    adapter = make(DIFY, provider.dify_url)
    state = answer(adapter, ask("hello"))[0]
    assert isinstance(state, UpstreamState)
    turns: Any = [(USER, [Text("hello")]), (ASSISTANT, [Text("hi")]), (USER, [Text("more")])]

    deltas = answer(adapter, conversation(*turns, upstream_state=state.value))

    assert sent(provider)["conversation_id"] == state.value
    assert sent(provider)["query"] == "more"
    assert deltas[0] == state


@pytest.mark.parametrize("state", ["", "5f2b0f4e-0000-4000-8000-000000000000"])
def test_dify_without_its_conversation_is_told_the_history(provider: ScriptedProvider, state: str) -> None:
    turns: Any = [(USER, [Text("hello")]), (ASSISTANT, [Text("hi")]), (USER, [Text("more")])]

    deltas = answer(make(DIFY, provider.dify_url), conversation(*turns, upstream_state=state))

    assert "conversation_id" not in sent(provider)
    assert sent(provider)["query"] == (
        "This was said so far:\n\nUser: hello\n\nAssistant: hi\n\nNow answer this message:\n\nmore"
    )
    assert isinstance(deltas[0], UpstreamState)
    assert deltas[0].value != state
    assert deltas[-1] == Finish("stop")


@pytest.mark.parametrize("app", ["chat", "agent", "new_agent", "chatflow"])
def test_dify_apps_say_it_once(provider: ScriptedProvider, app: str) -> None:
    provider.script(app=app, text="one two three", ping_every=1)

    deltas = answer(make(DIFY, provider.dify_url))

    assert text(deltas) == "one two three"
    assert not any(isinstance(found, Replacement) for found in deltas)


def test_dify_moderation_and_pictures(provider: ScriptedProvider) -> None:
    provider.script(replace="I may not say that.", file_url="/files/cat.png")

    deltas = answer(make(DIFY, provider.dify_url))

    assert Replacement("I may not say that.") in deltas
    assert ImageDelta(f"{provider.base_url}/files/cat.png") in deltas


def dify(*found: dict[str, Any]) -> bytes:
    common = {"task_id": "t", "conversation_id": "c", "message_id": "m"}
    return events(*(common | event for event in found))


def test_dify_last_message_of_an_agent_that_differs_replaces_the_text() -> None:
    body = dify(
        {"event": "agent_message", "answer": "one"},
        {"event": "message", "answer": "two"},
        {"event": "something_new"},
        {"event": "message_end", "metadata": {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}},
    )
    with saying(body) as url:
        assert Replacement("two") in answer(make(DIFY, url))


def test_dify_thoughts_grow_and_may_repeat_the_answer() -> None:
    body = dify(
        {"event": "agent_thought", "id": "1", "thought": ""},
        {"event": "agent_thought", "id": "1", "thought": "I see"},
        {"event": "agent_thought", "id": "1", "thought": "I see it"},
        {"event": "agent_thought", "id": "1", "thought": "I see it"},
        {"event": "agent_message", "answer": "It is "},
        {"event": "agent_message", "answer": "a cat"},
        {"event": "agent_thought", "id": "2", "thought": "It is a cat"},
        {"event": "message_end"},
    )
    with saying(body) as url:
        deltas = answer(make(DIFY, url))

    assert [found.text for found in deltas if isinstance(found, ReasoningDelta)] == ["I see", " it"]


def test_dify_chatflow_that_only_says_that_the_workflow_is_over() -> None:
    with saying(dify({"event": "message", "answer": "x"}, {"event": "workflow_finished", "data": {}})) as url:
        assert answer(make(DIFY, url))[-1] == Finish("stop")


def test_dify_workflow_failure_has_its_kind() -> None:
    data = {"status": "failed", "error": "LLM: maximum context length is 10 tokens"}
    with (
        saying(dify({"event": "workflow_finished", "data": data})) as url,
        pytest.raises(errors.ContextTooLong, match="10 tokens"),
    ):
        answer(make(DIFY, url))


def test_dify_gets_pictures_by_address_or_by_upload(provider: ScriptedProvider) -> None:
    answer(make(DIFY, provider.dify_url), ask(Image("https://x.test/a.png"), Image(PIXEL)))

    by_address, uploaded = sent(provider)["files"]
    assert by_address == {"type": "image", "transfer_method": "remote_url", "url": "https://x.test/a.png"}
    assert uploaded["transfer_method"] == "local_file"
    assert uploaded["upload_file_id"]
    assert sent(provider)["query"] == "(see the picture)"
    assert provider.log()[0]["path"].endswith("/files/upload")


@pytest.mark.parametrize("url", ["data:text/html,hello", "data:image/png;base64,***", "data:application/x;base64,aaaa"])
def test_dify_refuses_what_is_no_picture(provider: ScriptedProvider, url: str) -> None:
    with pytest.raises(errors.UnsupportedInput):
        answer(make(DIFY, provider.dify_url), ask(Image(url)))


def test_dify_names_its_conversation_itself(provider: ScriptedProvider) -> None:
    adapter = make(DIFY, provider.dify_url)
    state = answer(adapter)[0]
    assert isinstance(state, UpstreamState)

    named = adapter.title(ask(upstream_state=state.value), UpstreamCall(Deadlines()))
    assert [delta.text for delta in named if isinstance(delta, TextDelta)] == ["A short talk"]
    with pytest.raises(errors.UnsupportedInput):
        list(adapter.title(ask(), UpstreamCall(Deadlines())))


def test_dify_is_stopped_when_its_reader_goes_away_or_times_out(provider: ScriptedProvider) -> None:
    adapter = make(DIFY, provider.dify_url)
    provider.script(words=1000, pace_ms=2)
    reading = adapter.stream(ask(), UpstreamCall(Deadlines()))
    next(reading)
    reading.close()  # type: ignore[attr-defined]

    provider.wait_requests(2)
    assert [entry["path"].rpartition("/")[2] for entry in provider.log()] == ["chat-messages", "stop"]


def test_dify_is_not_enabled_by_an_address_alone() -> None:
    assert not make(DIFY, "http://localhost/v1", api_key="").enabled


# --- an adapter as the documentation writes it


def test_the_documented_example_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adding-a-provider.md").read_text("utf-8")
    source = next(block for block in page.split("```python")[1:] if "class AcmeAdapter" in block).partition("```")[0]
    example: dict[str, Any] = {"__name__": "adapters.acme_adapter"}
    exec(source, example)
    acme = example["AcmeAdapter"]

    with saying(events({"text": "one "}, {"text": "two"}, {"over": True})) as url:
        assert text(answer(acme("acme", acme.Config(base_url=url)))) == "one two"
    with (
        saying(b'{"error": {"code": "NO_CREDIT"}}', "application/json", 400) as url,
        pytest.raises(errors.ProviderDenied),
    ):
        answer(acme("acme", acme.Config(base_url=url)))


# --- model lists


def test_models_are_discovered_by_the_official_client(provider: ScriptedProvider) -> None:
    listed = make(OPENAI, provider.openai_url).discover_models()

    assert listed == sorted(listed)
    assert listed


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, errors.ProviderDenied),
        (404, errors.ProviderRejected),
        (429, errors.ProviderRateLimited),
        (500, errors.ProviderUnavailable),
    ],
)
@pytest.mark.parametrize("case", [OPENAI, QWEN], ids=lambda case: case.name)
def test_discovery_failures(case: Any, status: int, expected: type[errors.ProviderError]) -> None:
    with saying(b'{"error": {"message": "m"}}', "application/json", status) as url, pytest.raises(expected):
        make(case, url).discover_models()


@pytest.mark.parametrize("case", [OPENAI, QWEN], ids=lambda case: case.name)
def test_discovery_of_nothing_that_can_be_read(case: Any, provider: ScriptedProvider) -> None:
    with saying(b"<html>", "text/html") as url, pytest.raises(errors.ProviderGarbage):
        make(case, url).discover_models()
    with pytest.raises(errors.ProviderUnavailable):
        make(case, provider.refused_url).discover_models()


def test_dashscope_lists_its_models() -> None:
    models = {"output": {"total": 2, "models": [{"model": "qwen-plus"}, {"model": "qwen-max"}]}, "request_id": "r"}
    with saying(json.dumps(models).encode(), "application/json") as url:
        assert make(QWEN, url).discover_models() == ["qwen-max", "qwen-plus"]


def test_adapters_that_cannot_ask_give_the_declared_models() -> None:
    assert make(DIFY, "http://localhost/v1", models=["a"]).discover_models() == ["a"]


SDK_ERRORS = [
    cls
    for _, cls in inspect.getmembers(openai, inspect.isclass)
    if issubclass(cls, openai.OpenAIError) and cls.__module__.startswith("openai")
]


@pytest.mark.parametrize("foreign", SDK_ERRORS)
def test_every_exception_of_the_openai_sdk_is_mapped(foreign: type[openai.OpenAIError]) -> None:
    from adapters.model_discovery import sdk_failure

    error = foreign.__new__(foreign)
    Exception.__init__(error, "boom")
    request = httpx2.Request("GET", "http://x.test")
    if isinstance(error, openai.APIStatusError):
        error.status_code, error.response = 500, httpx2.Response(500, request=request)

    assert isinstance(sdk_failure(error, FailureMap()), errors.ProviderError)


def test_the_official_sdk_agrees_with_our_reading(provider: ScriptedProvider) -> None:
    provider.script(text="grüße 你好", reasoning="hm", times=2)
    ours = answer(make(OPENAI, provider.openai_url), ask(model="m"))
    with openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello there"}], stream=True
        )
        theirs = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    assert text(ours) == theirs


def test_an_endless_answer_takes_no_memory(provider: ScriptedProvider) -> None:
    import resource

    provider.script(fault="endless", times=1)
    adapter: BaseAdapter = make(OPENAI, provider.openai_url)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()

    with pytest.raises(errors.ProviderError):
        for _ in adapter.stream(ask(), UpstreamCall(Deadlines(1, 1, 1, 1.5))):
            pass

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert time.monotonic() - started < 5
