"""The scripted provider speaks Anthropic truly: the SDK reads it, and it checks requests as the service does."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.contract.adapter_cases import provider, running  # noqa: F401
from tests.scripted_provider.client import ScriptedProvider

ASK: Any = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi there"}]}
CALLS = [{"name": "a", "arguments": {"x": 1}, "id": "toolu_1"}, {"name": "b", "arguments": {"y": [1, 2]}}]


@pytest.fixture
def client(provider: ScriptedProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="x-1234", max_retries=0, timeout=5) as made:
        yield made


def test_stream_and_whole_answer_are_the_same(client: anthropic.Anthropic, provider: ScriptedProvider) -> None:
    provider.script(reasoning="let me see", text="so it is", tool_calls=CALLS, tool_fragments=2, ping_every=1, times=2)

    with client.messages.stream(**ASK) as stream:
        streamed = stream.get_final_message()
    whole = client.messages.create(**ASK)

    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert streamed.model_dump(exclude={"id"}) == whole.model_dump(exclude={"id"})
    assert whole.content[3].model_dump()["input"] == {"y": [1, 2]}
    assert whole.stop_reason == "tool_use"
    entry = provider.log()[0]
    assert (entry["protocol"], entry["key"], entry["text_sent"]) == ("anthropic", "1234", "so it is")
    assert entry["usage_reported"]["output_tokens"] == streamed.usage.output_tokens


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({}, "end_turn"),
        ({"finish_reason": "length"}, "max_tokens"),
        ({"finish_reason": "content_filter"}, "refusal"),
        ({"stop_sequence": "END"}, "stop_sequence"),
    ],
)
def test_stop_reasons(
    client: anthropic.Anthropic,
    provider: ScriptedProvider,
    script: dict[str, Any],
    reason: str,
) -> None:
    provider.script(**script)
    message = client.messages.create(**ASK)

    assert message.stop_reason == reason
    assert message.stop_sequence == script.get("stop_sequence")


@pytest.mark.parametrize(
    ("script", "expected", "kind"),
    [
        ({"status": 529}, anthropic.OverloadedError, "overloaded_error"),
        ({"status": 429, "retry_after": 3}, anthropic.RateLimitError, "rate_limit_error"),
        ({"status": 401}, anthropic.AuthenticationError, "authentication_error"),
        ({"error": "context_length_exceeded"}, anthropic.BadRequestError, "invalid_request_error"),
        ({"error": "model_not_found"}, anthropic.NotFoundError, "not_found_error"),
        ({"fault": "error_in_200", "error": "overloaded_error"}, anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_errors(
    client: anthropic.Anthropic,
    provider: ScriptedProvider,
    script: dict[str, Any],
    expected: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    provider.script(**script)

    with pytest.raises(expected) as caught:
        list(client.messages.create(**ASK, stream=True))

    assert caught.value.type == kind
    assert caught.value.request_id == provider.last()["id"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "at least one"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
    (
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": "well?"},
            ]
        },
        "without `tool_result`",
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "mine"}]}]},
        "signature",
    ),
    ({"extra_body": {"temperature": 0.5}}, "temperature"),
    ({"extra_headers": {"anthropic-version": "1999-01-01"}}, "anthropic-version"),
]


@pytest.mark.parametrize(("fields", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_requests_are_checked(client: anthropic.Anthropic, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=reason):
        client.messages.create(**(ASK | fields))


def test_counting_and_the_cache(client: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": "be very kind", "cache_control": {"type": "ephemeral"}}]
    counted = client.messages.count_tokens(model="m", messages=ASK["messages"], system=system)
    usage = client.messages.create(**ASK, system=system).usage

    assert usage.cache_read_input_tokens == 3
    assert usage.input_tokens + 3 == counted.input_tokens
