"""The offline provider is honest, deterministic and does what it is told."""

from typing import Any

import pytest

from adapters.base_adapter import Deadlines, UpstreamCall
from adapters.echo_json import least_json
from adapters.registry import load_providers
from domain import errors
from domain.chat import ChatRequest, Options, PromptMessage, ResponseFormat, Tool
from domain.deltas import Delta, Finish, ReasoningDelta, TextDelta, ToolCallDelta, UsageReport
from domain.messages import Image, MessageRole, Part, Text


def echo(message: str, deadlines: Deadlines | None = None, **fields: Any) -> list[Delta]:
    adapter = load_providers({"echo": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}})["echo"]
    request = ChatRequest("echo", [PromptMessage(MessageRole.USER, [Text(message)])], **fields)
    return list(adapter.stream(request, UpstreamCall(deadlines or Deadlines())))


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def test_it_says_what_it_is_and_quotes_the_user_word_by_word() -> None:
    deltas = echo("tell me a tale")

    assert text(deltas) == "This is UniChat's offline echo provider; no model was asked. You wrote: tell me a tale"
    assert len([delta for delta in deltas if isinstance(delta, TextDelta)]) == 16
    assert deltas[-1] == Finish("stop")
    assert deltas == echo("tell me a tale")


def test_usage_counts_words() -> None:
    usage = next(delta.usage for delta in echo("one two", system="be kind") if isinstance(delta, UsageReport))

    assert (usage.prompt_tokens, usage.completion_tokens) == (4, 14)


@pytest.mark.parametrize("words", [0, 1, 5, 500])
def test_words(words: int) -> None:
    deltas = echo(f"/echo words={words} hello")

    assert len(text(deltas).split()) == words
    assert deltas[-1] == Finish("stop")


def test_a_token_limit_ends_the_answer_with_length() -> None:
    deltas = echo("hello", max_tokens=3)

    assert text(deltas) == "This is UniChat's"
    assert deltas[-1] == Finish("length")


def test_reasoning() -> None:
    deltas = echo("/echo reasoning=1 hm")

    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)).startswith("There is nothing")
    assert text(deltas).endswith("You wrote: hm")


@pytest.mark.parametrize(
    "code",
    ["provider_unavailable", "provider_rate_limited", "context_too_long", "provider_denied", "provider_timeout"],
)
def test_failures_on_request(code: str) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        echo(f"/echo fail={code} after=2 retry_after=3")

    assert caught.value.error_code == code


def test_a_cut_has_text_and_no_end() -> None:
    with pytest.raises(errors.UpstreamCut):
        echo("/echo fail=upstream_cut after=2")


def test_a_failure_behind_the_end_of_the_answer_still_happens() -> None:
    with pytest.raises(errors.ProviderUnavailable):
        echo("/echo words=3 fail=provider_unavailable after=100")


@pytest.mark.parametrize("message", ["/echo fail=nonsense words=x pace=-1 hi", "/echo", "/echo =", "", "/echoes"])
def test_unreadable_directives_do_no_harm(message: str) -> None:
    assert echo(message)[-1] == Finish("stop")


def test_a_pace_beyond_a_deadline_is_a_timeout() -> None:
    with pytest.raises(errors.ProviderTimeout) as caught:
        echo("/echo pace=1000", Deadlines(first_token=0.05))

    assert caught.value.stage == "first_token"


def test_pictures_are_counted() -> None:
    adapter = load_providers({"echo": {"adapter_class": "adapters.echo_adapter.EchoAdapter"}})["echo"]
    parts: list[Part] = [Text("see"), Image("https://x.test/a.png")]
    request = ChatRequest("echo", [PromptMessage(MessageRole.USER, parts)])

    assert text(list(adapter.stream(request, UpstreamCall(Deadlines())))).endswith("You wrote (and 1 picture): see")


def test_it_can_be_switched_off_and_renamed() -> None:
    config = {"enabled": False, "models": ["a", "b"], "default_model": "b"}
    adapter = load_providers({"e": {"adapter_class": "adapters.echo_adapter.EchoAdapter", "config": config}})["e"]

    assert not adapter.enabled
    assert [model.name for model in adapter.models] == ["b", "a"]
    assert not adapter.models[0].capabilities.general


def test_it_calls_a_tool_that_was_offered_in_fragments() -> None:
    weather = Options(tools=(Tool("weather"),))
    deltas = echo('/echo tool=weather args={"city":"Bonn"} calls=2', options=weather)
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]

    assert [(call.index, call.name) for call in calls if call.name] == [(0, "weather"), (1, "weather")]
    assert len({call.id for call in calls if call.id}) == 2
    assert "".join(call.arguments for call in calls if call.index == 1) == '{"city":"Bonn"}'
    assert text(deltas) == ""
    assert deltas[-1] == Finish("tool_calls")
    assert deltas[-1] != echo("/echo tool=weather")[-1] == Finish("stop")


def test_json_that_is_asked_for_fits() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "mood": {"enum": ["good", "bad"]},
            "next": {"$ref": "#"},
            "tags": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
            "more": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "required": ["city", "mood", "tags", "more"],
    }
    answer = text(echo("hello", options=Options(response_format=ResponseFormat("json_schema", schema=schema))))

    assert answer == '{"city": "xx", "mood": "good", "tags": [0, 0], "more": null}'
    assert text(echo("hello", options=Options(response_format=ResponseFormat("json_object")))) == "{}"


def test_a_schema_without_end_has_an_end() -> None:
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}

    assert str(least_json(endless)).count("next") < 20
