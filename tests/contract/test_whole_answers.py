"""Answers in one piece, from servers that cannot stream; and what says that they cannot."""

import json
from typing import Any

import pytest

from adapters.base_adapter import BaseAdapter, UpstreamCall
from domain import errors
from domain.deltas import Finish, ReasoningDelta, ToolCallDelta, UsageReport, one_by_one
from tests.contract.adapter_cases import CASES, QUICK, adapter, answer, ask, make, provider, running, text  # noqa: F401
from tests.scripted_provider.client import ScriptedProvider

NAMES = ("openai", "qwen-compatible", "anthropic")
WHOLE = [case for case in CASES if case.name in NAMES]
STREAMED = [case for case in CASES if case.name not in NAMES]


@pytest.fixture(params=WHOLE, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


def whole(adapter: BaseAdapter, **fields: Any) -> list[Any]:
    return list(one_by_one(adapter.complete(ask(**fields), UpstreamCall(QUICK))))


def test_a_whole_answer_is_the_same_deltas(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    call = {"name": "look", "arguments": {"where": "here"}, "id": "call_1"}
    script = {"text": "so it is", "reasoning": "let me think", "tool_calls": [call]}
    provider.script(script, script)

    deltas = whole(adapter, max_tokens=50)

    assert adapter.completes
    assert text(deltas) == text(answer(adapter)) == "so it is"
    assert [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)] == ["let me think"]
    assert [(one.id, one.name, json.loads(one.arguments)) for one in deltas if isinstance(one, ToolCallDelta)] == [
        ("call_1", "look", {"where": "here"})
    ]
    assert any(isinstance(delta, UsageReport) for delta in deltas)
    assert deltas[-1] == Finish("tool_calls")
    body = provider.log()[0]["body"]
    assert not {"stream", "stream_options"} & set(body)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"status": 500}, errors.ProviderUnavailable),
        ({"fault": "cut"}, errors.ProviderGarbage),
        ({"fault": "reset"}, errors.UpstreamCut),
        ({"fault": "stall"}, errors.ProviderTimeout),
        ({"fault": "error_in_200"}, errors.ProviderUnavailable),
        ({"fault": "malformed_event"}, errors.ProviderGarbage),
        ({"fault": "html_200"}, errors.ProviderGarbage),
    ],
)
def test_its_failures_are_the_same_errors(
    script: dict[str, Any],
    error: type[errors.ProviderError],
    adapter: BaseAdapter,
    provider: ScriptedProvider,
) -> None:
    provider.script(words=10, **script)

    with pytest.raises(error):
        whole(adapter)


def test_whole_answers_can_be_asked_of_the_common_protocol_only(provider: ScriptedProvider) -> None:
    assert not any(make(case, getattr(provider, case.url)).completes for case in STREAMED)


# What says that a server cannot stream


@pytest.mark.parametrize(
    "reason",
    [
        "Streaming is not supported for this model.",
        "`stream`: true is unsupported",
        "Your organization must be verified to stream this model.",
    ],
)
def test_a_refusal_to_stream(reason: str, adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(status=400, message=reason)

    with pytest.raises(errors.StreamUnsupported):
        answer(adapter)


def test_another_content_type(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(fault="wrong_content_type")

    with pytest.raises(errors.StreamUnsupported):
        answer(adapter)


def test_a_page_is_no_answer(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    provider.script(fault="html_200")

    with pytest.raises(errors.ProviderGarbage) as caught:
        answer(adapter)
    assert not isinstance(caught.value, errors.StreamUnsupported)


def test_a_whole_answer_to_a_stream_is_taken_as_it_is(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    message = {"role": "assistant", "content": "Here it is.", "refusal": None}
    completion = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    with _Server(completion) as url:
        deltas = answer(make(WHOLE[0], url))

    assert text(deltas) == "Here it is."
    assert deltas[-1] == Finish("stop")


class _Server:
    """A server that knows nothing of `stream`."""

    def __init__(self, completion: dict[str, Any]) -> None:
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        body = json.dumps(completion).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
