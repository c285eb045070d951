"""What providers do beside answering in a chat, and answers to bare prompts."""

import base64
import hashlib
import json
import struct
import zlib
from typing import Any

import msgspec
import openai
import pytest

from adapters.base_adapter import BaseAdapter, UpstreamCall
from adapters.registry import load_providers
from domain import errors
from domain.chat import NativeRequest
from domain.deltas import Finish, Piece, UsageReport
from domain.operations import OperationAnswer, OperationRequest
from domain.usage import Usage
from tests.contract.adapter_cases import CASES, QUICK, ask, make, provider, running, text, wire_of  # noqa: F401
from tests.scripted_provider.client import ScriptedProvider

OPENAI = next(case for case in CASES if case.name == "openai")
PASSED_ON = [case for case in CASES if case.name in ("openai", "qwen-compatible")]


def perform(adapter: BaseAdapter, operation: Any, body: bytes, model: str = "m") -> OperationAnswer:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return adapter.perform(OperationRequest(operation, model, fields, body), UpstreamCall(QUICK))


@pytest.fixture
def echo() -> BaseAdapter:
    return load_providers({"offline": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}})["offline"]


# Passed on


@pytest.mark.parametrize("case", PASSED_ON, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("operation", "path", "given", "usage"),
    [
        ("embeddings", "/embeddings", b'"input" : ["a b", "c"], "encoding_format":"base64"', Usage(3, 0)),
        ("images", "/images/generations", b'"prompt":"a cat", "n" : 2', Usage(2, 20)),
        ("moderations", "/moderations", b'"input":"violence"', None),
    ],
)
def test_the_clients_request_goes_out_and_the_answer_comes_back(
    case: Any, operation: str, path: str, given: bytes, usage: Usage | None, provider: ScriptedProvider
) -> None:
    adapter = make(case, getattr(provider, case.url))
    same, other = b'{ "model":"m", %b}' % given, b'{ "model":"public", %b}' % given

    done = perform(adapter, operation, same)
    perform(adapter, operation, other, "upstream-name")

    first, second = provider.log()
    assert first["path"].endswith(path)
    assert first["body_digest"] == hashlib.sha256(same).hexdigest()
    assert second["body"] == json.loads(other) | {"model": "upstream-name"}
    assert done.usage == usage
    assert json.loads(done.body).get("data") or json.loads(done.body)["results"][0]["flagged"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"status": 500}, errors.ProviderUnavailable),
        ({"status": 429, "retry_after": 3}, errors.ProviderRateLimited),
        ({"error": "model_not_found"}, errors.ModelNotFound),
        ({"fault": "stall", "after": 0}, errors.ProviderTimeout),
        ({"fault": "html_200"}, errors.ProviderGarbage),
        ({"fault": "reset", "after": 0}, errors.UpstreamCut),
    ],
)
def test_its_failures_are_those_of_the_error_tree(
    script: dict[str, Any], error: type[errors.ProviderError], provider: ScriptedProvider
) -> None:
    provider.script({"match": {"path": "/embeddings"}, **script})

    with pytest.raises(error) as caught:
        perform(make(OPENAI, provider.openai_url), "embeddings", b'{"model":"m","input":"a"}')

    assert caught.value.provider == "openai"


def test_a_picture_may_be_large(provider: ScriptedProvider) -> None:
    provider.script({"match": {"path": "/images"}, "headers": {"x-n": "1"}})
    body = b'{"model":"m","prompt":"a cat","n":80000}'  # some 8 MB of base64

    done = perform(make(OPENAI, provider.openai_url), "images", body)

    assert len(json.loads(done.body)["data"]) == 80000


# Translated


def test_dashscope_embeds_in_its_own_words(provider: ScriptedProvider) -> None:
    qwen = make(next(case for case in CASES if case.name == "qwen"), provider.dashscope_url)
    body = {"model": "public", "input": ["a b", "c"], "dimensions": 8, "encoding_format": "base64", "user": "u"}

    done = perform(qwen, "embeddings", json.dumps(body).encode(), "text-embedding-v4")

    assert provider.last()["body"] == {
        "model": "text-embedding-v4",
        "input": {"texts": ["a b", "c"]},
        "parameters": {"dimension": 8},
    }
    assert done.usage == Usage(3, 0)
    told = json.loads(done.body)
    assert [one["index"] for one in told["data"]] == [0, 1]
    assert len(base64.b64decode(told["data"][0]["embedding"])) == 8 * 4
    for wrong in ({"input": [1, 2]}, {"input": "a", "task": "search"}):
        with pytest.raises(errors.UnsupportedInput):
            perform(qwen, "embeddings", json.dumps(wrong).encode())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_not_offered_is_refused_before_anything_is_sent(case: Any, provider: ScriptedProvider) -> None:
    adapter = make(case, getattr(provider, case.url))

    for operation in {"embeddings", "images", "moderations"} - adapter.offers:
        with pytest.raises(errors.UnsupportedInput) as caught:
            perform(adapter, operation, b'{"model":"m","input":"a","prompt":"b"}')
        assert caught.value.error_code == "unsupported_operation"
    assert provider.log() == []


# Offline


def embedded(echo: BaseAdapter, body: dict[str, Any]) -> list[Any]:
    done = perform(echo, "embeddings", json.dumps({"model": "m", **body}).encode())
    return [one["embedding"] for one in json.loads(done.body)["data"]]


def test_echo_embeddings_know_which_words_texts_share(echo: BaseAdapter) -> None:
    cats, cat_too, ships = embedded(echo, {"input": ["The cat sleeps.", "a cat SLEEPS", "ships sail home"]})

    def near(left: list[float], right: list[float]) -> float:
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert near(cats, cats) == pytest.approx(1)
    assert near(cats, cat_too) > 0.5 > near(cats, ships)
    assert embedded(echo, {"input": "The cat sleeps."}) == [cats]


def test_echo_embeddings_have_the_form_that_was_asked_for(echo: BaseAdapter) -> None:
    [plain] = embedded(echo, {"input": "a b", "dimensions": 8})
    [packed] = embedded(echo, {"input": "a b", "dimensions": 8, "encoding_format": "base64"})

    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(plain)
    assert embedded(echo, {"input": ""})[0][0] == 1
    for wrong in ({"input": [1, 2]}, {"input": "a", "dimensions": 5000}, {}):
        with pytest.raises(errors.UnsupportedInput):
            embedded(echo, wrong)


def test_echo_pictures_are_real_ones(echo: BaseAdapter) -> None:
    done = perform(echo, "images", b'{"model":"m","prompt":"a red cat","n":2}')

    first, second = (base64.b64decode(one["b64_json"]) for one in json.loads(done.body)["data"])
    assert first != second
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", first[16:24]) == (64, 64)
    pixels = zlib.decompress(first[first.index(b"IDAT") + 4 : first.index(b"IEND") - 8])
    assert len(pixels) == 64 * (1 + 64 * 3)
    linked = perform(echo, "images", b'{"model":"m","prompt":"a red cat","response_format":"url"}')
    assert json.loads(linked.body)["data"][0]["url"] == f"data:image/png;base64,{base64.b64encode(first).decode()}"


# Bare prompts


def bare(body: bytes, *, stream: bool) -> Any:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return ask("Once", model="m", native=NativeRequest("text_completions", fields, stream, body=body), whole=True)


def test_bare_prompts_go_to_servers_that_take_them(provider: ScriptedProvider) -> None:
    adapter = make(OPENAI, provider.openai_url, text_completions=True)
    provider.script({"tokens": ["upon ", "a time"], "times": 2})

    whole = list(
        adapter.complete(bare(b'{"model":"m","prompt":"Once","max_tokens":9}', stream=False), UpstreamCall(QUICK))
    )
    body = b'{"model":"m","prompt":"Once","stream":true,"stream_options":{"include_usage":true}}'
    streamed = list(adapter.stream(bare(body, stream=True), UpstreamCall(QUICK)))

    assert [entry["path"] for entry in provider.log()] == ["/v1/completions"] * 2
    assert provider.log()[0]["body"] == {"model": "m", "prompt": "Once", "max_tokens": 9}
    assert text(whole) == text(streamed) == "upon a time"
    assert [type(delta) for delta in whole] == [Piece, UsageReport, Finish]
    assert (len(wire_of(whole)), len(wire_of(streamed))) == (1, 4)
    assert [type(delta) for delta in streamed[-2:]] == [UsageReport, Finish]


def test_to_others_a_bare_prompt_is_a_chat(provider: ScriptedProvider) -> None:
    adapter = make(OPENAI, provider.openai_url)
    request = bare(b'{"model":"m","prompt":"Once","stream":true}', stream=True)

    deltas = list(adapter.stream(request, UpstreamCall(QUICK)))

    assert not adapter.speaks(request)
    assert provider.last()["body"]["messages"] == [{"role": "user", "content": "Once"}]
    assert not wire_of(deltas)


# The scripted provider is true to the official client


def test_the_official_client_reads_all_of_them(provider: ScriptedProvider) -> None:
    with openai.OpenAI(base_url=provider.openai_url, api_key="x", max_retries=0) as client:
        pictures = client.images.generate(model="m", prompt="a cat", n=2)
        judged = client.moderations.create(input="some violence")
        completion = client.completions.create(model="m", prompt="Once")
        streamed = list(client.completions.create(model="m", prompt="Once", stream=True))

    assert pictures.data is not None
    assert base64.b64decode(pictures.data[1].b64_json or "").startswith(b"\x89PNG")
    assert judged.results[0].categories.violence
    assert completion.choices[0].text == "".join(one.choices[0].text for one in streamed) != ""
    assert streamed[-1].choices[0].finish_reason == "stop"
