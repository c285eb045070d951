"""Clients that speak the provider's own protocol: what the provider gets, byte for byte, and what the client gets."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from adapters.base_adapter import BaseAdapter, UpstreamCall
from adapters.failures import FailureMap
from adapters.openai_wire import Answer
from adapters.sse import ServerEvent
from domain import errors
from domain.chat import NativeRequest
from domain.deltas import Delta, Finish, Piece, TextDelta, ToolCallDelta, UsageReport, WireEvent, one_by_one
from tests.contract.adapter_cases import (  # noqa: F401
    CASES,
    QUICK,
    adapter,
    ask,
    make,
    provider,
    running,
    text,
    wire_of,
)
from tests.scripted_provider.client import ScriptedProvider

NATIVE = [case for case in CASES if case.name in ("openai", "qwen-compatible")]
MESSAGES = b'[ {"role":"user", "content":"h\\u0069 there"} ]'
COUNTED = b'"stream":true,"stream_options":{"include_usage":true}'


@pytest.fixture(params=NATIVE, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


def native(body: bytes) -> NativeRequest:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    stream = fields.get("stream") == msgspec.Raw(b"true")
    return NativeRequest("chat_completions", fields, stream, body=body)


def answer(adapter: BaseAdapter, body: bytes, model: str = "m", **fields: Any) -> list[Delta]:
    request = ask(model=model, native=native(body), whole=True, **fields)
    streamed = request.native is not None and request.native.stream
    return list((adapter.stream if streamed else adapter.complete)(request, UpstreamCall(QUICK)))


def fields_of(**more: bytes) -> bytes:
    given = b"".join(b',"%b":%b' % (name.encode(), value) for name, value in more.items())
    return b'"messages":' + MESSAGES + given


def test_what_needs_no_change_is_sent_as_it_came(case: Any, provider: ScriptedProvider) -> None:
    spaced = b'{ "model" : "m",\n "messages": %b, "stream": true, "stream_options": {"include_usage" : true } }'
    whole = b'{ "model" : "m",\n "messages": %b, "stream": false, "n": 2, "x-new": [1.0, 1e2] }'
    adapter = make(case, getattr(provider, case.url))
    for body in (spaced % MESSAGES, whole % MESSAGES):
        answer(adapter, body)

        assert provider.last()["body_digest"] == hashlib.sha256(body).hexdigest()


GOLDEN: dict[str, tuple[dict[str, Any], str, bytes, bytes]] = {
    # what is configured, the model's name at the provider, what the client sends, what the provider gets
    "the model's name": (
        {},
        "upstream-name",
        b'{"model":"public","stream":false,"logprobs":true,"top_logprobs":2,%b}',
        b'{"model":"upstream-name","stream":false,"logprobs":true,"top_logprobs":2,%b}',
    ),
    "a stream is counted": ({}, "m", b'{"model":"m",%b,"stream":true}', b'{"model":"m",%b,' + COUNTED + b"}"),
    "other options of the stream stay": (
        {},
        "m",
        b'{"model":"m",%b,"stream_options":{"include_obfuscation":false},"stream":true}',
        b'{"model":"m",%b,"stream_options":{"include_obfuscation":false,"include_usage":true},"stream":true}',
    ),
    "a model that cannot count": (
        {"models": [{"name": "m", "stream_usage": False}]},
        "m",
        b'{"model":"m",%b,"stream":true,"stream_options":{"include_usage":true}}',
        b'{"model":"m",%b,"stream":true}',
    ),
    "options of no stream": ({}, "m", b'{"model":"m",%b,"stream_options":null}', b'{"model":"m",%b}'),
    "no unicode, number or escape is touched": (
        {},
        "m",
        b'{"model":"p",%b,"seed":18446744073709551615,"user":"\xc3\xa9\\u00e9","temperature":1.0,"stop":null}',
        b'{"model":"m",%b,"seed":18446744073709551615,"user":"\xc3\xa9\\u00e9","temperature":1.0,"stop":null}',
    ),
    "the limit of a reasoning model": (
        {},
        "o3-mini",
        b'{"model":"o3-mini","max_tokens":50,%b}',
        b'{"model":"o3-mini","max_completion_tokens":50,%b}',
    ),
    "the limit of a model of others": (
        {},
        "qwen3-max",
        b'{"model":"qwen3-max","max_completion_tokens":50,%b}',
        b'{"model":"qwen3-max","max_tokens":50,%b}',
    ),
    "both limits": (
        {},
        "o3-mini",
        b'{"model":"o3-mini","max_tokens":50,"max_completion_tokens":40,%b}',
        b'{"model":"o3-mini","max_completion_tokens":40,%b}',
    ),
    "either limit": (
        {},
        "gpt-4o",
        b'{"model":"p","max_completion_tokens":50,%b}',
        b'{"model":"gpt-4o","max_completion_tokens":50,%b}',
    ),
    "the configuration wins": (
        {"extra_body": {"top_k": 3, "seed": None, "temperature": 0.5}},
        "m",
        b'{"model":"m","seed":1,"temperature":1,%b}',
        b'{"model":"m","temperature":0.5,%b,"top_k":3}',
    ),
    "the user is named": ({"send_user": True}, "m", b'{"model":"m",%b}', b'{"model":"m",%b,"user":"usr_1"}'),
    "the client names its own": (
        {"send_user": True},
        "m",
        b'{"model":"m","user":"theirs",%b}',
        b'{"model":"m","user":"theirs",%b}',
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_that_the_provider_gets(case: Any, name: str, provider: ScriptedProvider) -> None:
    config, model, given, expected = GOLDEN[name]
    adapter = make(case, getattr(provider, case.url), **config)
    shared = fields_of(metadata=b'{"a" : "b"}')

    answer(adapter, given % shared, model)

    assert provider.last()["body"] == json.loads(expected % shared)
    assert provider.last()["body_digest"] == hashlib.sha256(expected % shared).hexdigest()


def test_what_the_operator_says_of_thinking_wins(provider: ScriptedProvider) -> None:
    body = b'{"model":"m","enable_thinking":true,%b}' % fields_of()
    for configured, sent in ((None, True), (False, False)):
        answer(make(NATIVE[1], provider.compatible_url, enable_thinking=configured), body)

        assert provider.last()["body"]["enable_thinking"] is sent


def test_the_native_protocol_of_another_provider_is_not_spoken(provider: ScriptedProvider) -> None:
    request = ask(native=native(b'{"model":"m","messages":[]}'))

    spoken = {case.name for case in CASES if make(case, getattr(provider, case.url)).speaks(request)}

    assert spoken == {case.name for case in NATIVE}


STREAM = b'{"model":"m","stream":true,%b}' % fields_of()
WHOLE = b'{"model":"m",%b}' % fields_of()


def test_every_event_comes_as_it_is_with_what_was_read_from_it(
    adapter: BaseAdapter, provider: ScriptedProvider
) -> None:
    call = {"name": "look", "arguments": {"at": 1}, "id": "call_1"}
    provider.script(tokens=["one ", "two"], tool_calls=[call], tool_fragments=1, split_bytes=50)

    deltas = answer(adapter, STREAM)

    events = [json.loads(event.data) for event in wire_of(deltas)]
    said = "".join("t" if isinstance(delta, TextDelta) else "c" for delta in one_by_one(deltas[:-2]))
    assert re.fullmatch("tt?cc", said)
    assert len(events) == len(["the role", "one", "two", "a call", "its arguments", "the finish reason", "the count"])
    assert [type(delta) for delta in deltas[-2:]] == [UsageReport, Finish]
    assert [event["choices"][0]["delta"].get("content") for event in events[1:3]] == ["one ", "two"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == next(
        delta.usage.total_tokens for delta in deltas if isinstance(delta, UsageReport)
    )


def test_a_whole_answer_comes_as_it_is(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(text="one two")

    first, *others = answer(adapter, WHOLE)

    (event,) = wire_of([first])
    assert json.loads(event.data)["object"] == "chat.completion"
    assert len(event.data) == len(provider_body(provider, event.data))
    assert list(one_by_one([first])) == [TextDelta("one two")]
    assert [type(delta) for delta in others] == [UsageReport, Finish]


def provider_body(provider: ScriptedProvider, data: bytes) -> bytes:
    """The same completion as the provider writes it: with its own id and nothing between the fields."""
    return msgspec.json.encode({**json.loads(data), "id": f"chatcmpl-{provider.last()['id']}"})


def test_an_answer_in_another_form_than_asked_for_is_told_in_neutral_words(
    adapter: BaseAdapter, provider: ScriptedProvider
) -> None:
    streamed = ask(native=native(STREAM), whole=True)
    in_one_piece = ask(native=native(WHOLE), whole=True)

    for deltas in (
        list(adapter.complete(streamed, UpstreamCall(QUICK))),
        list(adapter.stream(in_one_piece, UpstreamCall(QUICK))),
    ):
        assert text(deltas)
        assert not wire_of(deltas)
    assert [entry["body"].get("stream") for entry in provider.log()] == [None, True]


def test_other_requests_bring_no_events(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    deltas = list(adapter.stream(ask(), UpstreamCall(QUICK)))

    assert not wire_of(deltas)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"fault": "error_in_200", "after": 1}, errors.ProviderUnavailable),
        ({"finish_reason": "insufficient_system_resource"}, errors.ProviderUnavailable),
        ({"fault": "cut", "after": 1}, errors.UpstreamCut),
        ({"fault": "malformed_event", "after": 1}, errors.ProviderGarbage),
    ],
)
def test_the_event_of_a_failure_is_not_shown(
    adapter: BaseAdapter, provider: ScriptedProvider, script: dict[str, Any], error: type[errors.ProviderError]
) -> None:
    provider.script(tokens=["one ", "two ", "three "], **script)
    request = ask(native=native(STREAM), whole=True)
    deltas: list[Delta] = []

    with pytest.raises(error):
        deltas.extend(adapter.stream(request, UpstreamCall(QUICK)))

    shown = [json.loads(event.data) for event in wire_of(deltas)]
    assert shown
    assert not [event for event in shown if "error" in event or event["choices"][0]["finish_reason"]]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"audio": {"id": "a", "transcript": "spoken"}}, TextDelta("spoken")),
        ({"refusal": "I cannot."}, TextDelta("I cannot.")),
        ({"function_call": {"name": "look", "arguments": "{}"}}, ToolCallDelta(0, "", "look", "{}")),
        (
            {"tool_calls": [{"index": 1, "id": "c", "type": "custom", "custom": {"name": "run", "input": "x = 1"}}]},
            ToolCallDelta(1, "c", "run", "x = 1"),
        ),
    ],
)
def test_no_kind_of_answer_looks_empty(said: dict[str, Any], expected: Delta) -> None:
    for place in ("delta", "message"):
        data = json.dumps({"choices": [{"index": 0, place: said, "finish_reason": None}]}).encode()

        assert list(read(data, wire=True)) == [Piece([expected], [WireEvent(data)])]


def test_neutral_deltas_are_of_the_first_choice() -> None:
    data = b'{"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}'

    assert list(read(data)) == [Piece([TextDelta("a")], [])]


def read(*events: bytes, wire: bool = False) -> Iterator[Delta]:
    """What comes of these events when they come at once."""
    return Answer(FailureMap(), lambda: None, wire=wire).deltas([[ServerEvent("message", data) for data in events]])


def word(text: str, **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, **more}]}).encode()


def test_what_comes_at_once_is_passed_on_at_once() -> None:
    words = [word("one "), word("two "), word("three")]

    assert next(read(*words)) == Piece([TextDelta("one "), TextDelta("two "), TextDelta("three")], [])
    assert next(read(*words, wire=True)) == Piece([TextDelta("one two three")], [WireEvent(data) for data in words])


@pytest.mark.parametrize("failure", [b'{"error":{"message":"no"}}', b"{", word("", finish_reason="error")])
@pytest.mark.parametrize("wire", [True, False])
def test_what_came_before_a_failure_is_told_although_they_came_at_once(failure: bytes, wire: bool) -> None:
    reading, said = read(word("one "), failure, word("two"), wire=wire), word("one ")

    assert next(reading) == Piece([TextDelta("one ")], [WireEvent(said)] if wire else [])
    with pytest.raises(errors.ProviderError):
        next(reading)


def test_nothing_after_the_end_counts_although_it_came_at_once() -> None:
    deltas = list(read(word("one", finish_reason="stop"), b"[DONE]", word("two"), wire=True))

    assert text(deltas) == "one"
    assert len(wire_of(deltas)) == 1
    assert deltas[-1] == Finish("stop")
