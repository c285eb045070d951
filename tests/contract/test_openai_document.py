"""Every answer and every event of a stream, against OpenAI's published OpenAPI document."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.chats import told
from tests.contract.gateway import Gateway, gateway
from tests.openai_document import faults, needed
from tests.scripted_provider.client import ScriptedProvider

USED = {"prompt_tokens": 11, "completion_tokens": 7}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CALLS = [{"name": "weather", "arguments": {"city": "Bonn"}}, {"name": "weather", "arguments": {"city": "Köln"}}]
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
# What is asked, beside the model and the script, and the script.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({}, {"text": "All is well.", "usage": USED}),
    "tools": ({"tools": [TOOL]}, {"tool_calls": CALLS[:1], "tool_fragments": 4}),
    "parallel tools": ({"tools": [TOOL], "parallel_tool_calls": True}, {"tool_calls": CALLS, "tool_fragments": 3}),
    "reasoning": ({}, {"reasoning": "Let me think.", "text": "Yes."}),
    "refusal": ({}, {"refusal": "I will not."}),
    "filtered": ({}, {"text": "No", "finish_reason": "content_filter"}),
    "length": ({"max_completion_tokens": 5}, {"words": 5, "finish_reason": "length"}),
    "structure": ({"response_format": FORMAT}, {"text": '{"city": "Bonn"}'}),
    "likely": ({"logprobs": True, "top_logprobs": 2, "n": 2}, {"words": 3}),
}
MODELS = ["plain", "translated", "scoped", "app", "echo"]


@pytest.fixture(scope="module", autouse=True)
def _document() -> None:
    needed()


@pytest.fixture(scope="module")
def node(scripted_process: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), scripted_process) as started:
        yield started


@pytest.fixture(scope="module")
def wire(node: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node.base_url, headers={"Authorization": f"Bearer {node.key}"}, timeout=30) as made:
        yield made


def sound(schema: str, answer: httpx.Response) -> Any:
    """The body of an answer, once it is known to be of this schema; an error must be of the schema of errors."""
    body = answer.json()
    assert faults(schema if answer.is_success else "ErrorResponse", body) == [], body
    return body


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The data of a stream's events, without the mark of its end."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def sound_events(schema: str, answer: httpx.Response) -> list[dict[str, Any]]:
    """All events, once each is known to be of this schema; one that tells of an error, of the schema of errors."""
    found = events(answer)
    assert found
    for event in found:
        assert faults("ErrorResponse" if "error" in event else schema, event) == [], event
    return found


def asked(model: str, case: str, **fields: Any) -> dict[str, Any]:
    options, script = CASES[case]
    message = {"role": "user", "content": told("hello", **script)}
    return {"model": model, "messages": [message], **options, **fields}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("provider")
def test_chat_completions(wire: httpx.Client, model: str, case: str) -> None:
    whole = wire.post("/chat/completions", json=asked(model, case))
    streamed = wire.post(
        "/chat/completions", json=asked(model, case, stream=True, stream_options={"include_usage": True})
    )

    sound("CreateChatCompletionResponse", whole)
    assert whole.status_code == streamed.status_code
    if streamed.is_success:
        found = sound_events("CreateChatCompletionStreamResponse", streamed)
        assert found[-1]["usage"]
    else:
        assert whole.status_code == 400
        sound("ErrorResponse", streamed)
    if model in ("plain", "translated") and case in ("text", "tools", "parallel tools", "length", "structure"):
        assert whole.is_success


@pytest.mark.parametrize("model", ["plain", "translated", "scoped", "app"])
def test_an_error_in_mid_stream(wire: httpx.Client, provider: ScriptedProvider, model: str) -> None:
    provider.script(words=10, fault="error_in_200", after=4)
    answer = wire.post(
        "/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": True},
    )

    assert "error" in sound_events("CreateChatCompletionStreamResponse", answer)[-1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {}),
        ("/chat/completions", {"model": "plain", "messages": []}),
        ("/chat/completions", {"model": "no-such", "messages": [{"role": "user", "content": "hello"}]}),
        ("/embeddings", {"model": "translated", "input": "a cat"}),
        ("/completions", {"prompt": "a cat"}),
        ("/images/generations", {"model": "no-such", "prompt": "a cat"}),
        ("/moderations", {"input": "a cat"}),
        ("/no/such/path", {}),
    ],
)
def test_errors(wire: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = wire.post(path, json=body)

    assert answer.is_client_error
    sound("ErrorResponse", answer)
    nobody = wire.post(path, json=body, headers={"Authorization": "Bearer sk-nobody"})
    assert nobody.status_code in (401, 404)
    sound("ErrorResponse", nobody)


def test_models(wire: httpx.Client) -> None:
    listed = sound("ListModelsResponse", wire.get("/models"))

    assert {"plain", "translated", "scoped", "app", "echo", "alias"} <= {model["id"] for model in listed["data"]}
    for model in listed["data"]:
        assert sound("Model", wire.get(f"/models/{model['id']}")) == model
    assert wire.get("/models/no-such").status_code == 404
    sound("Model", wire.get("/models/no-such"))


@pytest.mark.parametrize("model", ["bare-prompts", "plain", "translated", "scoped", "app", "echo"])
@pytest.mark.usefixtures("provider")
def test_bare_prompts(wire: httpx.Client, model: str) -> None:
    body = {"model": model, "prompt": told("hello", text="All is well.", usage=USED)}
    whole = wire.post("/completions", json=body)
    streamed = wire.post("/completions", json=body | {"stream": True, "stream_options": {"include_usage": True}})

    assert whole.is_success
    sound("CreateCompletionResponse", whole)
    found = events(streamed)
    assert found
    for event in found:
        # The document gives a stream the shape of a whole answer, but its text says that the count is null till the
        # end; so is, at the service, the reason for an end that has not come.
        if event.get("usage") is None:
            event.pop("usage", None)
        for choice in event["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        assert faults("CreateCompletionResponse", event) == [], event
    assert found[-1]["usage"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("model", ["plain", "scoped", "echo"])
@pytest.mark.usefixtures("provider")
def test_embeddings(wire: httpx.Client, model: str, encoding: str) -> None:
    answer = wire.post("/embeddings", json={"model": model, "input": ["a", "b"], "encoding_format": encoding})

    assert answer.is_success
    body = answer.json()
    if encoding == "base64":  # The document knows of lists only, though the service gives both.
        assert all(isinstance(item["embedding"], str) for item in body["data"])
        for item in body["data"]:
            item["embedding"] = [0.0]
    assert faults("CreateEmbeddingResponse", body) == []


@pytest.mark.usefixtures("provider")
def test_pictures_and_moderation(wire: httpx.Client) -> None:
    picture = wire.post("/images/generations", json={"model": "plain", "prompt": "a cat"})
    judged = wire.post("/moderations", json={"model": "plain", "input": "a cat"})

    assert (picture.status_code, judged.status_code) == (200, 200)
    sound("ImagesResponse", picture)
    sound("CreateModerationResponse", judged)


@pytest.mark.parametrize("case", ["text", "reasoning", "length", "refusal"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("provider")
def test_responses(wire: httpx.Client, model: str, case: str) -> None:
    body = {"model": model, "input": told("hello", **CASES[case][1])}
    whole = wire.post("/responses", json=body)
    streamed = wire.post("/responses", json=body | {"stream": True})

    assert whole.is_success
    made = sound("Response", whole)
    sound("Response", wire.get(f"/responses/{made['id']}"))
    sound("ResponseItemList", wire.get(f"/responses/{made['id']}/input_items"))
    found = events(streamed)
    assert found[-1]["type"] in ("response.completed", "response.incomplete")
    for event in found:
        assert faults("ResponseStreamEvent", event) == [], event
