"""The official ``openai`` client: bare prompts, embeddings, pictures, moderation."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.chats import told
from tests.contract.gateway import Gateway, gateway
from tests.scripted_provider.client import ScriptedProvider

USED = {"prompt_tokens": 11, "completion_tokens": 7}


@pytest.fixture(scope="module")
def node(scripted_process: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), scripted_process) as started:
        yield started


@pytest.fixture
def client(node: Gateway, provider: ScriptedProvider) -> Iterator[openai.OpenAI]:
    assert provider is node.provider
    with node.client() as made:
        yield made


def rows(node: Gateway) -> list[Any]:
    """Requests that were billed, by kind of model."""
    return list(node.node.call("GET", "/api/v1/usage?group_by=model", token=node.token)["items"])


@pytest.mark.parametrize("model", ["bare-prompts", "plain", "translated", "echo"])
def test_a_bare_prompt(client: openai.OpenAI, model: str) -> None:
    prompt = told("hello", text="All is well.", usage=USED)
    answer = client.completions.create(model=model, prompt=prompt, max_tokens=50)
    events = list(client.completions.create(model=model, prompt=[prompt], max_tokens=50, stream=True))

    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("text_completion", model, "stop")
    assert {(event.object, event.model) for event in events} == {("text_completion", model)}
    assert [event.choices[0].finish_reason for event in events if event.choices[0].finish_reason] == ["stop"]
    assert "".join(event.choices[0].text for event in events) == answer.choices[0].text
    if model != "echo":
        assert answer.choices[0].text == "All is well."
        assert answer.usage
        assert answer.usage.total_tokens == 18


def test_a_bare_prompt_goes_as_such_where_it_may(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    client.completions.create(model="bare-prompts", prompt=["one", "two"], best_of=2, suffix=".")

    assert provider.last()["path"].endswith("/v1/completions")
    assert provider.last()["body"] == {
        "model": "bare-prompts", "prompt": ["one", "two"], "best_of": 2, "suffix": ".",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": ["one", "two"]}, "prompt", "unsupported_value"),
        ({"prompt": [1, 2]}, "prompt", "unsupported_value"),
        ({"suffix": "."}, "suffix", "unsupported_parameter"),
        ({"logprobs": 2}, "logprobs", "unsupported_parameter"),
        ({"extra_body": {"mine": 1}}, "mine", "unknown_parameter"),
        ({"n": "two"}, "n", "invalid_type"),
    ],
)
def test_what_a_chat_cannot_say_of_a_bare_prompt(client: openai.OpenAI, fields: Any, param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**{"model": "plain", "prompt": "hello"} | fields)

    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize("model", ["plain", "echo"])
def test_embeddings(client: openai.OpenAI, model: str) -> None:
    answer = client.embeddings.create(model=model, input=["a cat", "a cat", "something else"])

    one, same, other = (item.embedding for item in answer.data)
    assert one == same
    assert one != other
    assert answer.model == model
    assert answer.usage.prompt_tokens > 0


def test_embeddings_of_a_route_come_from_who_has_them(
    client: openai.OpenAI, node: Gateway, provider: ScriptedProvider
) -> None:
    provider.script(match={"path": "/embeddings", "model": "vectors"}, times=1, status=503)
    answer = client.embeddings.with_raw_response.create(model="vectors", input="a cat")

    assert answer.parse().model == "vectors"
    assert answer.headers["x-unichat-route"].startswith("app/app=unsupported_operation -> frail/vectors=")
    assert "vectors" in str(rows(node))


def test_what_a_provider_does_not_do(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="translated", input="a cat")
    assert (refused.value.param, refused.value.code) == ("model", "unsupported_operation")
    with pytest.raises(openai.NotFoundError) as missing:
        client.moderations.create(input="a cat")
    assert missing.value.code == "model_not_found"


def test_a_provider_s_refusal_is_passed_on(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    provider.script(match={"path": "/embeddings"}, times=1, status=400, message="too many texts")
    with pytest.raises(openai.BadRequestError, match="too many texts"):
        client.embeddings.create(model="plain", input="a cat")


@pytest.mark.parametrize("model", ["plain", "echo"])
def test_pictures(client: openai.OpenAI, model: str) -> None:
    answer = client.images.generate(model=model, prompt="a cat", n=2, response_format="b64_json")

    assert len(answer.data or []) == 2
    assert all(picture.b64_json for picture in answer.data or [])


def test_moderation(client: openai.OpenAI) -> None:
    answer = client.moderations.create(model="plain", input=["a cat", "a dog"])

    assert len(answer.results) == 2


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("embeddings", {"model": "plain"}, "input", "missing_required_parameter"),
        ("embeddings", {"model": "plain", "input": ""}, "input", "invalid_value"),
        ("embeddings", {"model": "plain", "input": "x", "dimensions": "many"}, "dimensions", "invalid_type"),
        ("images/generations", {"prompt": "a cat", "n": 11}, "n", "invalid_value"),
        ("images/generations", {"prompt": "a cat", "stream": True}, "stream", "unsupported_value"),
        ("moderations", {"input": 3}, "input", "invalid_type"),
    ],
)
def test_a_field_that_is_wrong_is_named(client: openai.OpenAI, path: str, body: Any, param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(f"/{path}", cast_to=object, body=body)

    assert (refused.value.param, refused.value.code) == (param, code)
