"""The official ``openai`` client against a node, with providers that speak its protocol and such that do not."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.chats import told
from tests.contract.gateway import Gateway, gateway
from tests.scripted_provider.client import ScriptedProvider

NATIVE, TRANSLATED, EITHER = "plain", "translated", ["plain", "translated", "alias"]
USED = {"prompt_tokens": 11, "completion_tokens": 7}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALLS = [{"name": "weather", "arguments": {"city": "Bonn"}}, {"name": "weather", "arguments": {"city": "Köln"}}]


@pytest.fixture(scope="module")
def node(scripted_process: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), scripted_process) as started:
        yield started


@pytest.fixture
def client(node: Gateway, provider: ScriptedProvider) -> Iterator[openai.OpenAI]:
    assert provider is node.provider
    with node.client() as made:
        yield made


def asking(**script: Any) -> list[Any]:
    return [{"role": "user", "content": told("hello", **script) if script else "hello"}]


@pytest.mark.parametrize("model", [*EITHER, "scoped", "app", "echo"])
def test_a_whole_answer(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=asking(text="All is well.", usage=USED))

    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role, answer.object) == ("stop", "assistant", "chat.completion")
    assert answer.model == model
    assert answer.usage
    if model != "echo":
        assert choice.message.content == "All is well."
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 7, 18)


@pytest.mark.parametrize("model", [*EITHER, "scoped", "app", "echo"])
def test_a_streamed_answer(client: openai.OpenAI, model: str) -> None:
    events = list(client.chat.completions.create(model=model, messages=asking(words=20, usage=USED), stream=True))

    assert {event.object for event in events} == {"chat.completion.chunk"}
    assert {event.model for event in events} == {model}
    assert len({event.id for event in events}) == 1
    assert events[0].choices[0].delta.role == "assistant"
    assert [event.choices[0].finish_reason for event in events if event.choices[0].finish_reason] == ["stop"]
    assert events[-1].choices[0].finish_reason == "stop"
    assert not any(event.usage for event in events)
    assert "".join(event.choices[0].delta.content or "" for event in events)


@pytest.mark.parametrize("model", EITHER)
def test_the_count_comes_last_for_those_who_ask(client: openai.OpenAI, model: str) -> None:
    options = {"include_usage": True}
    *events, last = client.chat.completions.create(
        model=model,
        messages=asking(words=5, usage=USED),
        stream=True,
        stream_options=options,  # type: ignore[arg-type]  # a plain dictionary will do
    )

    assert last.choices == []
    assert last.usage
    assert last.usage.total_tokens == 18
    assert all(event.choices and event.usage is None for event in events)


@pytest.mark.parametrize("model", EITHER)
def test_parallel_tool_calls_in_fragments(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": asking(tool_calls=CALLS), "tools": [TOOL], "parallel_tool_calls": True}
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**asked)

    for choice in (final.choices[0], whole.choices[0]):
        assert choice.finish_reason == "tool_calls"
        calls = choice.message.tool_calls or []
        assert [(call.function.name, call.function.arguments) for call in calls] == [
            ("weather", '{"city": "Bonn"}'),
            ("weather", '{"city": "Köln"}'),
        ] or [call.function.name for call in calls] == ["weather", "weather"]
        assert len({call.id for call in calls}) == 2


def test_a_tool_s_result_goes_back(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    for model in EITHER:
        first = client.chat.completions.create(model=model, messages=asking(tool_calls=CALLS[:1]), tools=[TOOL])  # type: ignore[list-item]  # likewise
        call = (first.choices[0].message.tool_calls or [])[0]
        history: list[Any] = [
            {"role": "user", "content": "the weather?"},
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]
        second = client.chat.completions.create(model=model, messages=history, tools=[TOOL])  # type: ignore[list-item]  # likewise

        assert second.choices[0].message.content
        assert "sunny" in str(provider.last()["body"]["messages"][-1])


@pytest.mark.parametrize("model", [NATIVE, TRANSLATED])
def test_reasoning(client: openai.OpenAI, model: str) -> None:
    asked = asking(reasoning="Let me think.", text="Yes.")
    whole = client.chat.completions.create(model=model, messages=asked)
    events = list(client.chat.completions.create(model=model, messages=asked, stream=True))

    assert whole.choices[0].message.model_extra
    assert whole.choices[0].message.model_extra["reasoning_content"] == "Let me think."
    deltas = [event.choices[0].delta.model_extra or {} for event in events]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Let me think."


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        ({"status": 400, "error": "context_length_exceeded"}, openai.BadRequestError, "context_length_exceeded"),
        ({"status": 400, "error": "content_filter"}, openai.BadRequestError, "content_filter"),
        ({"status": 404, "error": "model_not_found"}, openai.NotFoundError, "model_not_found"),
        ({"fault": "html_200"}, openai.InternalServerError, "provider_garbage"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_provider_s_errors_before_the_first_word(
    client: openai.OpenAI, script: dict[str, Any], kind: type[openai.APIStatusError], code: str, *, stream: bool
) -> None:
    with pytest.raises(kind) as failed:
        client.chat.completions.create(model="frail", messages=asking(**script), stream=stream)

    assert failed.value.code == code
    assert failed.value.request_id


@pytest.mark.parametrize("model", [NATIVE, TRANSLATED])
def test_an_error_in_mid_stream_is_told_in_the_stream(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model, messages=asking(words=10, fault="error_in_200", after=4), stream=True
    )
    text = ""
    with pytest.raises(openai.APIError) as failed:
        for event in stream:
            text += event.choices[0].delta.content or ""

    assert text
    assert failed.value.code


def test_who_may_not(client: openai.OpenAI, node: Gateway) -> None:
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="sk-nobody").chat.completions.create(model=NATIVE, messages=asking())
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="no-such", messages=asking())
    assert missing.value.code == "model_not_found"
    assert node.key not in str(unknown.value)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
    ],
)
def test_a_field_that_is_wrong_is_named(client: openai.OpenAI, fields: Any, param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": NATIVE, "messages": asking()} | fields)

    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"extra_body": {"top_k_of_mine": 3}}, "top_k_of_mine", "unknown_parameter"),
        ({"messages": [{"role": "user", "name": "bob", "content": "x"}]}, "messages[0].name", "unsupported_parameter"),
        (
            {"messages": [{"role": "user", "content": "x", "cache_control": {}}]},
            "messages[0].cache_control",
            "unknown_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]},
            "messages[0].content[0]",
            "unsupported_value",
        ),
    ],
)
def test_what_only_this_protocol_can_say_is_refused_for_others_and_passed_to_its_own(
    client: openai.OpenAI, provider: ScriptedProvider, fields: Any, param: str, code: str
) -> None:
    asked = {"messages": asking()} | fields
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=TRANSLATED, **asked)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert provider.log() == []

    client.chat.completions.create(model=NATIVE, **asked)
    sent = provider.last()["body"]
    assert {name: sent[name] for name in asked if name != "extra_body"} | {"model": NATIVE} | asked.get(
        "extra_body", {}
    ) == sent


def test_hints_change_nothing(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=TRANSLATED, messages=asking(), user="bob", metadata={"a": "b"}, store=False, n=1, presence_penalty=0
    )

    assert answer.choices[0].message.content


def test_a_failover_before_the_first_word_is_not_seen(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    provider.script(match={"model": "one"}, times=2, status=500)
    events = list(client.chat.completions.create(model="early", messages=asking(), stream=True))

    assert {event.model for event in events} == {"early"}
    assert events[-1].choices[0].finish_reason == "stop"
    assert provider.last()["model"] == "translated"


@pytest.mark.parametrize(("route", "first"), [("twice", "two"), ("mixed", "three")])
def test_a_failover_in_mid_stream_goes_on_where_the_same_is_said(
    client: openai.OpenAI, provider: ScriptedProvider, route: str, first: str
) -> None:
    text = "one two three four five six"
    provider.script(match={"model": first}, times=-1, text=text, fault="reset", after=3)
    provider.script(times=-1, text=text)
    events = list(client.chat.completions.create(model=route, messages=asking(), stream=True))

    assert "".join(event.choices[0].delta.content or "" for event in events) == text
    assert len({event.id for event in events}) == 1
    assert events[-1].choices[0].finish_reason == "stop"


def test_a_failover_in_mid_stream_to_another_text_is_an_error(
    client: openai.OpenAI, provider: ScriptedProvider
) -> None:
    provider.script(match={"model": "four"}, times=-1, text="one two three four five", fault="reset", after=3)
    provider.script(times=-1, text="something else altogether")
    with pytest.raises(openai.APIError) as failed:
        list(client.chat.completions.create(model="diverging", messages=asking(), stream=True))

    assert failed.value.code == "answer_diverged"


def test_headers(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="alias", messages=asking(), extra_headers={"X-Request-Id": "mine-1"}
    )

    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-unichat-route"] == "native/plain"
    assert float(answer.headers["x-unichat-overhead-ms"]) >= 0
    assert int(answer.headers["openai-processing-ms"]) >= 0


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]

    assert {"plain", "translated", "app", "alias", "echo"} <= set(names)
    for name in names:
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("no/such")
    assert missing.value.code == "model_not_found"
