"""What every adapter does, whatever its provider does."""

import time
from typing import Any

import pytest

from adapters.base_adapter import BaseAdapter, Deadlines, UpstreamCall
from domain import errors
from domain.deltas import Finish, ReasoningDelta, ToolCallDelta, UsageReport
from domain.usage import UsageSource
from tests.contract.adapter_cases import (  # noqa: F401
    CASES,
    KEY,
    Case,
    adapter,
    adapter_classes,
    answer,
    ask,
    case,
    make,
    provider,
    running,
    text,
)
from tests.scripted_provider.client import ScriptedProvider

OFFLINE = {"EchoAdapter"}


def test_every_adapter_has_a_case() -> None:
    tested = {case.adapter_class.rpartition(".")[2] for case in CASES}

    assert {cls.__name__ for cls in adapter_classes()} - OFFLINE == tested


def test_an_answer_is_text_then_usage_then_finish(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(text="one two three", usage={"prompt_tokens": 7, "completion_tokens": 3})

    deltas = answer(adapter)

    assert text(deltas) == "one two three"
    assert deltas[-1] == Finish("stop")
    usage = next(delta.usage for delta in deltas if isinstance(delta, UsageReport))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.source) == (7, 3, UsageSource.PROVIDER)


def test_an_explicit_zero_stays_zero(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(usage="zero")

    assert [delta.usage.total_tokens for delta in answer(adapter) if isinstance(delta, UsageReport)] == [0]


def test_an_answer_without_usage_reports_none(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(usage="off")

    deltas = answer(adapter)

    assert not [delta for delta in deltas if isinstance(delta, UsageReport)]
    assert deltas[-1] == Finish("stop")


def test_reasoning_is_apart_from_the_answer(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(text="so it is", reasoning="let me think", app="agent")

    deltas = answer(adapter)

    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "let me think"
    assert text(deltas) == "so it is"


def test_the_next_call_reuses_the_connection(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    for _ in range(3):
        answer(adapter)

    assert len(adapter.transport._idle._idle) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("split", [1, 2, 7])
def test_it_does_not_matter_where_the_network_cuts(
    adapter: BaseAdapter, provider: ScriptedProvider, split: int
) -> None:
    provider.script(text="grüße 你好 🌍 end", split_bytes=split)

    assert text(answer(adapter)) == "grüße 你好 🌍 end"


@pytest.mark.parametrize("fault", ["crlf", "cr", "u2028", "duplicate_done", "empty_answer"])
def test_oddities_within_the_protocol_do_no_harm(adapter: BaseAdapter, provider: ScriptedProvider, fault: str) -> None:
    provider.script(fault=fault, text="one two")

    deltas = answer(adapter)

    assert deltas[-1] == Finish("stop")
    assert text(deltas).replace("\u2028", "").split() in (["one", "two"], ["onetwo"], [])
    assert provider.last()["text_sent"] == text(deltas)


FAULTS: list[tuple[dict[str, Any], type[errors.ProviderError] | tuple[type[errors.ProviderError], ...], str]] = [
    ({"fault": "refuse"}, errors.ProviderUnavailable, ""),
    ({"fault": "reset"}, errors.UpstreamCut, ""),
    ({"fault": "reset", "after": 0}, (errors.UpstreamCut, errors.ProviderUnavailable), ""),
    ({"fault": "cut"}, errors.UpstreamCut, ""),
    ({"fault": "half_close"}, errors.UpstreamCut, ""),
    ({"fault": "truncated_chunked"}, errors.UpstreamCut, ""),
    ({"fault": "no_finish"}, errors.UpstreamCut, ""),
    ({"fault": "stall"}, errors.ProviderTimeout, "idle"),
    ({"fault": "no_first_byte"}, errors.ProviderTimeout, "first_token"),
    ({"fault": "silent_headers"}, errors.ProviderTimeout, "first_token"),
    ({"fault": "trickle", "seconds": 0.05}, errors.ProviderTimeout, "first_token"),
    ({"fault": "keepalive_comments", "seconds": 0.05}, errors.ProviderTimeout, "idle"),
    ({"fault": "keepalive_comments", "seconds": 0.05, "after": 0}, errors.ProviderTimeout, "first_token"),
    ({"fault": "endless", "pace_ms": 5}, errors.ProviderTimeout, "total"),
    ({"fault": "garbage"}, (errors.ProviderGarbage, errors.UpstreamCut), ""),
    ({"fault": "garbage", "after": 0}, (errors.ProviderGarbage, errors.UpstreamCut), ""),
    ({"fault": "malformed_event"}, errors.ProviderGarbage, ""),
    ({"fault": "html_200"}, errors.ProviderGarbage, ""),
    ({"fault": "wrong_content_type"}, errors.ProviderGarbage, ""),
    ({"fault": "huge_line"}, errors.ProviderGarbage, ""),
    ({"fault": "gzip_bomb"}, errors.ProviderGarbage, ""),
    ({"fault": "invalid_utf8"}, errors.ProviderGarbage, ""),
    ({"fault": "redirect"}, errors.ProviderGarbage, ""),
    ({"fault": "error_in_200"}, errors.ProviderUnavailable, ""),
    ({"fault": "workflow_failed"}, errors.ProviderUnavailable, ""),
    ({"fault": "error_in_200", "error": "context_length_exceeded"}, errors.ContextTooLong, ""),
    ({"status": 400}, errors.ProviderRejected, ""),
    ({"status": 401}, errors.ProviderDenied, ""),
    ({"status": 403}, errors.ProviderDenied, ""),
    ({"status": 413}, errors.ProviderRejected, ""),
    ({"status": 500}, errors.ProviderUnavailable, ""),
    ({"status": 502}, errors.ProviderUnavailable, ""),
    ({"status": 503}, errors.ProviderUnavailable, ""),
    ({"status": 529}, (errors.ProviderUnavailable, errors.ProviderRateLimited), ""),
    ({"status": 429}, errors.ProviderRateLimited, ""),
    ({"error": "model_not_found"}, errors.ModelNotFound, ""),
    ({"error": "context_length_exceeded"}, errors.ContextTooLong, ""),
    ({"error": "content_filter"}, errors.ContentFiltered, ""),
    ({"error": "insufficient_quota"}, errors.ProviderDenied, ""),
    ({"status": 503, "body": "<html>Bad gateway</html>"}, errors.ProviderUnavailable, ""),
    ({"status": 400, "body": "[" * 50_000}, errors.ProviderRejected, ""),
]


@pytest.mark.parametrize(("script", "expected", "stage"), FAULTS, ids=lambda value: str(value)[:60])
def test_every_fault_is_its_error_in_time(
    adapter: BaseAdapter, provider: ScriptedProvider, script: dict[str, Any], expected: Any, stage: str
) -> None:
    provider.script({"words": 10, **script})
    started = time.monotonic()

    with pytest.raises(expected) as caught:
        answer(adapter)

    assert time.monotonic() - started < 3
    assert caught.value.provider == adapter.name
    assert getattr(caught.value, "stage", "") == stage
    assert isinstance(caught.value, expected)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("fault", ["stall", "no_first_byte", "endless", "keepalive_comments", "huge_line"])
def test_after_an_error_the_provider_sees_the_connection_close(
    adapter: BaseAdapter, provider: ScriptedProvider, fault: str
) -> None:
    provider.script(fault=fault, words=10, pace_ms=1, seconds=0.05)

    with pytest.raises(errors.ProviderError):
        answer(adapter, deadlines=Deadlines(1, 0.2, 0.2, 0.4))

    chat = next(entry for entry in provider.log() if not entry["path"].endswith("/stop"))
    assert provider.wait_closed(chat["id"], 2)["end"] in ("client_closed", "stopped", f"fault:{fault}")


def test_a_port_that_refuses_is_unavailable(case: Case, provider: ScriptedProvider) -> None:
    with pytest.raises(errors.ProviderUnavailable):
        answer(make(case, provider.refused_url))


def test_a_name_that_does_not_resolve_is_unavailable(case: Case) -> None:
    with pytest.raises((errors.ProviderUnavailable, errors.ProviderTimeout)):
        answer(make(case, "http://does-not-exist.invalid/v1"))


def test_retry_after_is_passed_on(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(status=429, retry_after=20)

    with pytest.raises(errors.ProviderRateLimited) as caught:
        answer(adapter)

    assert caught.value.retry_after == 20


def test_the_reason_of_a_refusal_is_passed_on_without_our_key(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(status=400, message=f"Bad tea in {KEY} cup. " + "x" * 5_000)

    with pytest.raises(errors.ProviderRejected, match="Bad tea in") as caught:
        answer(adapter)

    assert KEY not in str(caught.value)
    assert KEY not in "".join(getattr(caught.value, "__notes__", []))
    assert len(caught.value.message) < 600


def test_an_answer_that_fails_after_text_keeps_the_text(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(fault="cut", tokens=["a ", "b ", "c ", "d "], after=2)
    deltas: list[Any] = []

    with pytest.raises(errors.UpstreamCut):
        deltas.extend(adapter.stream(ask(), UpstreamCall(Deadlines())))

    assert text(deltas) == "a b "


def test_a_kept_connection_that_the_server_closed_is_replaced(case: Case, provider: ScriptedProvider) -> None:
    with ScriptedProvider.start() as first:
        port = int(first.base_url.rpartition(":")[2])
        adapter = make(case, getattr(first, case.url))
        answer(adapter)
    with ScriptedProvider.start(port=port) as second:
        assert answer(adapter)[-1] == Finish("stop")
        assert len(second.log()) == 1


def test_an_error_without_a_body_read_to_its_end_costs_no_time(
    adapter: BaseAdapter, provider: ScriptedProvider
) -> None:
    provider.script(status=500, fault="stall")
    started = time.monotonic()

    with pytest.raises(errors.ProviderUnavailable):
        answer(adapter)

    assert time.monotonic() - started < 1


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "dify"], indirect=True, ids=lambda c: c.name)
def test_tool_calls_come_in_fragments(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(
        text="",
        tool_calls=[
            {"name": "look", "arguments": {"where": "here"}, "id": "call_a"},
            {"name": "go", "arguments": '{"to": 1}', "id": "call_b"},
        ],
    )

    deltas = answer(adapter)

    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert {(call.index, call.id, call.name) for call in calls if call.name} == {
        (0, "call_a", "look"),
        (1, "call_b", "go"),
    }
    assert "".join(call.arguments for call in calls if call.index == 1) == '{"to": 1}'
    assert deltas[-1] == Finish("tool_calls")
