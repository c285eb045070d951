"""Every way in which a provider misbehaves, over real HTTP: the whole answer wherever any target can give it.

Targets ``a``, ``b`` and ``c`` are models at one scripted provider. ``alone`` is a route to ``a``, ``smart`` to ``a``
and then ``b``, ``large`` to ``a`` and then ``c``, which has a larger window. Deadlines and waits are short.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask_openapi import OpenAPI

from domain.breaker import BreakerPolicy
from services.generation_runner import GenerationRunner
from services.retry_policy import RetryPolicy
from services.upstream import Upstream
from tests.actors import Actor, set_up
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

TEXT = "Whether I shall turn out to be the hero of my own life, these pages must show. 你好 🌍!"
TOKENS = [TEXT[at : at + 4] for at in range(0, len(TEXT), 4)]
ROUTES = {"alone": ["a/a"], "smart": ["a/a", "b/b"], "large": ["a/a", "c/c"]}
QUICK = RetryPolicy(backoff_s=0.1, rate_limit_s=0.3, longest_wait_s=1, patience_s=0.25)
COUNT = 6
BREAKER = BreakerPolicy(failures=3, window_s=30, first_interval_s=0.5, longest_interval_s=1)


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedProvider]:
    with ScriptedProvider.start(default={"tokens": TOKENS}) as provider:
        yield provider


@pytest.fixture
def provider(running: ScriptedProvider) -> ScriptedProvider:
    running.reset()
    return running


@pytest.fixture
def app(provider: ScriptedProvider, make_app: AppFactory, tmp_path: Path) -> OpenAPI:
    adapter = "adapters.openai_adapter.OpenAIAdapter"
    windows = {"a": 8_000, "b": 8_000, "c": 32_000}
    providers = {
        name: {
            "adapter_class": adapter,
            "config": {
                "api_key": "sk-test",
                "base_url": provider.openai_url,
                "models": [{"name": name, "context_window": window, "max_output": 1000}],
            },
        }
        for name, window in windows.items()
    }
    (tmp_path / "ai.json").write_text(json.dumps({"providers": {}, "routes": ROUTES}))
    deadlines = {"PROVIDER_FIRST_TOKEN_MS": 400, "PROVIDER_MAX_IDLE_MS": 400, "PROVIDER_TIMEOUT_MS": 5_000}
    app = make_app(
        providers,
        AI_PROVIDERS_FILE=str(tmp_path / "ai.json"),
        AUTO_TITLE=False,
        RATE_LIMIT_CHAT="100000 per minute",
        **deadlines,
    )
    upstream(app).policy = QUICK
    return app


@pytest.fixture
def ada(app: OpenAPI) -> Actor:
    return set_up(app)


def upstream(app: OpenAPI) -> Upstream:
    runner: GenerationRunner = app.extensions["unichat"].runner
    return runner.upstream


@dataclass
class Told:
    """What a client was told."""

    status: int
    text: str
    code: str | None
    message: dict[str, Any] | None
    headers: dict[str, str]
    replaced: int = 0


def ask(ada: Actor, model: str, *, stream: bool = False, text: str = "hello") -> Told:
    response = ada.post("/api/v1/chat", {"message": text, "model": model, "stream": stream})
    headers = dict(response.headers)
    if response.mimetype != "text/event-stream":
        body = response.get_json()
        message = (body["data"] or {}).get("message")
        return Told(response.status_code, (message or {}).get("content", ""), body.get("code"), message, headers)
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    told = Told(response.status_code, "", None, None, headers)
    for event in events:
        if event["type"] == "content":
            told.text += event["content"]
        elif event["type"] == "replace":
            told.text, told.replaced = event["content"], told.replaced + 1
        elif event["type"] == "error":
            told.code = event["code"]
    assert events[0]["type"] == "start"
    assert events[-1]["type"] == "complete"
    told.message = events[-1]["message"]
    return told


def asked(provider: ScriptedProvider, model: str) -> list[dict[str, Any]]:
    return [entry for entry in provider.log() if entry["model"] == model]


def check_pace(provider: ScriptedProvider, models: str = "abc") -> None:
    """Never more than four attempts on one target in three seconds, by the provider's own clock."""
    for model in models:
        starts = [entry["started_mono"] for entry in asked(provider, model)]
        assert all(later - earlier > 2.99 for earlier, later in zip(starts, starts[4:], strict=False))


FAULTS: dict[str, dict[str, Any]] = {
    "429": {"status": 429},
    "429 that says when": {"status": 429, "retry_after": "0.2"},
    "429 that says much later": {"status": 429, "retry_after": 61},
    "500": {"status": 500},
    "503": {"status": 503},
    "529": {"status": 529},
    "error in a 200": {"fault": "error_in_200", "after": 0},
    "error in a 200 midway": {"fault": "error_in_200"},
    "refused": {"fault": "refuse"},
    "reset": {"fault": "reset", "after": 0},
    "reset midway": {"fault": "reset"},
    "silence": {"fault": "no_first_byte"},
    "headers, then silence": {"fault": "silent_headers"},
    "slow first token": {"first_token_ms": 600},
    "only keep-alives": {"fault": "keepalive_comments", "after": 0, "seconds": 0.05},
    "cut at two thirds": {"fault": "cut", "fraction": 0.66},
    "truncated at two thirds": {"fault": "truncated_chunked", "fraction": 0.66},
    "stall": {"fault": "stall"},
    "half-closed": {"fault": "half_close"},
    "only keep-alives midway": {"fault": "keepalive_comments", "seconds": 0.05},
    "one malformed event": {"fault": "malformed_event"},
    "no end": {"fault": "no_finish"},
    "garbage": {"fault": "garbage", "after": 0},
    "a page": {"fault": "html_200"},
    "a huge event": {"fault": "huge_line"},
    "broken characters": {"fault": "invalid_utf8"},
    "an empty answer": {"fault": "empty_answer"},
}
ANSWERED_ANYWAY: dict[str, dict[str, Any]] = {
    "no end marker": {"fault": "no_end_marker"},
    "first token in time": {"first_token_ms": 200},
    "not a stream": {"fault": "wrong_content_type"},
    "two end markers": {"fault": "duplicate_done"},
}
HOPELESS_ALONE = {"429 that says much later"}
SAYS_SOMETHING_ELSE = {"truncated at two thirds"}  # before it breaks off, so that the rest cannot just be joined


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_not_noticed(fault: str, stream: bool, provider: ScriptedProvider, ada: Actor) -> None:
    provider.script({"match": {"model": "a"}, "tokens": TOKENS, **FAULTS[fault]})

    told = ask(ada, "alone", stream=stream)

    if fault in HOPELESS_ALONE:
        assert (told.code, told.text) == ("provider_rate_limited", "")
        assert len(asked(provider, "a")) == 1
        return
    assert told.message is not None
    assert (told.text, told.code, told.replaced) == (TEXT, None, int(stream and fault in SAYS_SOMETHING_ELSE))
    assert (told.message["status"], told.message["content"]) == ("completed", TEXT)
    assert len(asked(provider, "a")) == 2
    check_pace(provider)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_another_targets_business(
    fault: str, stream: bool, provider: ScriptedProvider, ada: Actor
) -> None:
    provider.script({"match": {"model": "a"}, "times": -1, "tokens": TOKENS, **FAULTS[fault]})

    told = ask(ada, "smart", stream=stream)

    assert told.message is not None
    assert (told.text, told.code, told.replaced) == (TEXT, None, int(stream and fault in SAYS_SOMETHING_ELSE))
    assert (told.message["status"], told.message["content"]) == ("completed", TEXT)
    assert (told.message["provider"], told.message["model"]) == ("b", "b")
    check_pace(provider)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_everywhere_is_a_clear_error(
    fault: str, stream: bool, provider: ScriptedProvider, ada: Actor
) -> None:
    for model in ("a", "b"):
        provider.script({"match": {"model": model}, "times": -1, "tokens": TOKENS, **FAULTS[fault]})

    told = ask(ada, "smart", stream=stream)

    assert told.code
    assert TEXT.startswith(told.text) or fault in SAYS_SOMETHING_ELSE
    if told.message is not None:
        assert (told.message["status"], told.message["content"]) == ("failed", told.text)
    else:
        assert told.status in (429, 502, 503, 504)
    assert len(provider.log()) <= 4
    check_pace(provider)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", ANSWERED_ANYWAY)
def test_an_oddity_is_no_reason_to_ask_somebody_else(
    fault: str, stream: bool, provider: ScriptedProvider, ada: Actor
) -> None:
    provider.script({"match": {"model": "a"}, "times": -1, "tokens": TOKENS, **ANSWERED_ANYWAY[fault]})

    told = ask(ada, "smart", stream=stream)

    assert told.message is not None
    assert (told.text, told.code) == (TEXT, None)
    assert (told.message["status"], told.message["provider"]) == ("completed", "a")
    assert asked(provider, "b") == []


# What waiting does not help


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"error": "content_filter"}, "content_filtered"),
        ({"status": 400, "message": "Too much tea."}, "provider_rejected"),
        ({"status": 413}, "provider_rejected"),
    ],
)
def test_a_request_at_fault_is_asked_once_and_its_reason_passed_on(
    script: dict[str, Any], code: str, stream: bool, provider: ScriptedProvider, ada: Actor
) -> None:
    provider.script({"match": {"model": "a"}, "times": -1, **script})

    told = ask(ada, "smart", stream=stream)

    assert told.code == code
    assert len(provider.log()) == 1
    if not stream:
        assert told.status == 422
        assert told.headers["X-UniChat-Route"] == f"a/a={code}"


@pytest.mark.parametrize("script", [{"status": 401}, {"error": "insufficient_quota"}, {"error": "model_not_found"}])
def test_an_account_or_model_that_does_not_work_is_asked_once(
    script: dict[str, Any], provider: ScriptedProvider, ada: Actor
) -> None:
    provider.script({"match": {"model": "a"}, "times": -1, **script})

    assert ask(ada, "smart").text == TEXT
    assert len(asked(provider, "a")) == 1


@pytest.mark.parametrize(
    ("model", "code"), [("alone", "context_too_long"), ("smart", "context_too_long"), ("large", None)]
)
def test_too_long_is_asked_of_a_larger_window_only(
    model: str, code: str | None, provider: ScriptedProvider, ada: Actor
) -> None:
    provider.script({"match": {"model": "a"}, "error": "context_length_exceeded"})

    told = ask(ada, model)

    assert (told.code, told.text) == (code, "" if code else TEXT)
    assert asked(provider, "b") == []


def test_what_we_know_to_be_too_long_is_not_even_asked(provider: ScriptedProvider, ada: Actor) -> None:
    told = ask(ada, "large", text="Lorem ipsum dolor sit amet. " * 2_000)

    assert (told.text, told.message and told.message["model"]) == (TEXT, "c")
    assert asked(provider, "a") == []
    assert told.headers["X-UniChat-Route"] == "a/a=context_too_long -> c/c"


# After the first token


@pytest.mark.parametrize("after", range(len(TOKENS) + 1))
def test_wherever_it_is_cut_the_joined_text_is_the_same(after: int, provider: ScriptedProvider, ada: Actor) -> None:
    provider.script({"match": {"model": "a"}, "tokens": TOKENS, "fault": "cut", "after": after})

    told = ask(ada, "smart", stream=True)

    assert told.message is not None
    assert (told.text, told.message["content"], told.replaced) == (TEXT, TEXT, 0)


def test_an_answer_that_departs_replaces_what_was_said(provider: ScriptedProvider, ada: Actor) -> None:
    provider.script({"match": {"model": "a"}, "tokens": TOKENS, "fault": "cut", "after": 9})
    provider.script({"match": {"model": "b"}, "tokens": [*TOKENS[:3], "?? ", "Something else."]})

    told = ask(ada, "smart", stream=True)

    assert told.text == "".join([*TOKENS[:3], "?? ", "Something else."])
    assert (told.replaced, told.message and told.message["content"]) == (1, told.text)


def test_a_tool_call_in_progress_is_begun_anew(provider: ScriptedProvider, ada: Actor) -> None:
    call = {"name": "look", "arguments": {"where": "here"}, "id": "call_1"}
    broken = {"text": "", "tool_calls": [call], "fault": "cut", "after": 2}
    provider.script({"match": {"model": "a"}, "times": -1, **broken})
    provider.script({"match": {"model": "b"}, "text": "", "tool_calls": [{**call, "id": "call_2"}]})

    told = ask(ada, "smart")

    assert told.message is not None
    calls = [part for part in told.message["parts"] if part["type"] == "tool_call"]
    assert [(one["id"], json.loads(one["arguments"])) for one in calls] == [("call_2", {"where": "here"})]


# A provider that is down for a while


def test_a_provider_that_is_down_and_back(provider: ScriptedProvider, app: OpenAPI, ada: Actor) -> None:
    upstream(app).gate.breakers._policy = BREAKER
    provider.script({"match": {"model": "a"}, "times": -1, "status": 503})
    began = time.monotonic()
    while time.monotonic() - began < 4:
        told = ask(ada, "smart")
        assert (told.text, told.message and told.message["model"]) == (TEXT, "b")
        time.sleep(0.02)
    during = asked(provider, "a")
    assert told.headers["X-UniChat-Route"].startswith("a/a=open(unavailable,")
    assert told.headers["X-UniChat-Route"].endswith(" -> b/b")
    assert len(during) <= 3 + 1 + 4  # until it opened, then one probe for each interval
    check_pace(provider, "a")

    provider.reset()
    deadline = time.monotonic() + 2
    while (told := ask(ada, "smart")).headers["X-UniChat-Route"] != "a/a":
        assert told.text == TEXT
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert told.text == TEXT


def test_when_nobody_can_be_asked_the_client_is_told_when_to_come_back(
    provider: ScriptedProvider, app: OpenAPI, ada: Actor
) -> None:
    upstream(app).gate.breakers._policy = BREAKER
    provider.script({"match": {"model": "a"}, "times": -1, "status": 503})
    codes = [(told := ask(ada, "alone")).code for _ in range(3)]
    before = len(provider.log())
    refused = ask(ada, "alone", stream=True)

    assert codes == ["provider_unavailable"] * 3
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "provider_unavailable", "1")
    assert len(provider.log()) == before == 3
    provider.reset()
    time.sleep(0.6)
    assert ask(ada, "alone").text == TEXT
    assert told.status == 503


def test_many_turns_together_do_not_hammer_a_target_that_fails(
    provider: ScriptedProvider, app: OpenAPI, ada: Actor
) -> None:
    upstream(app).gate.breakers._policy = BreakerPolicy(failures=100)  # so that only the pace is left
    provider.script({"match": {"model": "a"}, "times": -1, "status": 503})
    told: list[Told] = []
    threads = [
        threading.Thread(target=lambda: told.append(ask(Actor(app, ada.tokens), "smart"))) for _ in range(3 * COUNT)
    ]
    for batch in (threads[:COUNT], threads[COUNT:]):
        for thread in batch:
            thread.start()
        for thread in batch:
            thread.join()

    assert [one.text for one in told] == [TEXT] * 3 * COUNT
    starts = [entry["started_mono"] for entry in asked(provider, "a")]
    assert all(later - earlier > 2.99 for earlier, later in zip(starts[COUNT:], starts[COUNT + 4 :], strict=False))
    assert len(starts) < 2 * COUNT  # those that had begun before the first failure was known, and a few


# What is told


def test_headers_of_a_whole_answer_tell_all_attempts(provider: ScriptedProvider, ada: Actor) -> None:
    provider.script({"match": {"model": "a"}, "times": 2, "status": 500, "first_token_ms": 100})
    provider.script({"match": {"model": "b"}, "first_token_ms": 100, "tokens": TOKENS})

    asked_at = time.monotonic()
    told = ask(ada, "smart")
    took_ms = (time.monotonic() - asked_at) * 1000

    assert told.headers["X-UniChat-Route"] == "a/a=provider_unavailable -> a/a=provider_unavailable -> b/b"
    assert 0 < float(told.headers["X-UniChat-Overhead-Ms"]) < took_ms - 100, "the provider's time is none of ours"


def test_headers_of_a_stream_tell_the_start_and_its_end_tells_the_rest(provider: ScriptedProvider, ada: Actor) -> None:
    provider.script({"match": {"model": "a"}, "times": -1, "status": 401})

    told = ask(ada, "smart", stream=True)

    assert told.headers["X-UniChat-Route"] == "a/a"
    assert (told.message and told.message["provider"]) == "b"


def test_the_names_of_models_do_no_harm_in_headers(ada: Actor) -> None:
    response = ada.post("/api/v1/chat", {"message": "hi", "provider": "a", "model": "模型\r\nX-Evil: 1"})

    assert response.headers["X-UniChat-Route"] == "a/????X-Evil: 1"
    assert "X-Evil" not in response.headers


def test_a_session_keeps_its_public_model(provider: ScriptedProvider, ada: Actor) -> None:
    session = ada.ok(ada.post("/api/v1/sessions", {"model": "smart"}), 201)
    assert (session["provider"], session["model"]) == (None, "smart")
    provider.script({"match": {"model": "a"}, "times": -1, "status": 401})

    answer = ada.ok(ada.post("/api/v1/chat", {"message": "hi", "session_id": session["id"]}))
    generation = ada.ok(ada.get(f"/api/v1/generations/{answer['generation_id']}"))

    assert answer["message"]["provider"] == generation["provider"] == "b"
    assert ada.ok(ada.get(f"/api/v1/sessions/{session['id']}"))["model"] == "smart"


def test_routes_are_shown_to_administrators_with_their_breakers(
    provider: ScriptedProvider, app: OpenAPI, ada: Actor
) -> None:
    upstream(app).gate.breakers._policy = BREAKER
    provider.script({"match": {"model": "a"}, "times": -1, "status": 503})
    for _ in range(2):
        ask(ada, "smart")

    shown = ada.ok(ada.get("/api/v1/routes"))

    smart = next(route for route in shown["items"] if route["name"] == "smart")
    assert [(one["provider"], one["model"], one["order"], one["weight"]) for one in smart["targets"]] == [
        ("a", "a", 0, 1),
        ("b", "b", 1, 1),
    ]
    assert [one["breaker"]["state"] for one in smart["targets"]] == ["open", "closed"]
    assert smart["targets"][0]["breaker"]["reason"] == "unavailable"
    assert [one["target"] for one in shown["broken"]] == ["a/a"]
    time.sleep(0.55)
    assert ada.ok(ada.get("/api/v1/routes"))["broken"][0]["breaker"]["state"] == "half_open"


# Stops


@pytest.mark.parametrize(
    "script",
    [{"status": 429, "retry_after": 1}, {"fault": "no_first_byte"}, {"fault": "stall"}, {"words": 500, "pace_ms": 10}],
)
def test_a_stop_ends_everything_at_once(
    script: dict[str, Any], provider: ScriptedProvider, app: OpenAPI, ada: Actor
) -> None:
    upstream(app).deadlines = type(upstream(app).deadlines)(1, 5, 5, 10)
    provider.script({"match": {"model": "a"}, "times": -1, "tokens": TOKENS, **script})
    session = ada.ok(ada.post("/api/v1/sessions", {"model": "alone"}), 201)
    begun = ada.post(f"/api/v1/chat/{session['id']}/stream", {"message": "hi"}, headers={"Accept": "application/json"})
    assert begun.status_code == 202
    provider.wait_requests(1)
    time.sleep(0.15)

    started = time.monotonic()
    stopped = ada.ok(ada.post("/api/v1/chat/stop", {"session_id": session["id"]}))

    assert (stopped["state"], time.monotonic() - started < 0.5) == ("stopped", True)
    assert provider.wait_closed()["end"] in ("client_closed", "complete")
    messages = ada.ok(ada.get(f"/api/v1/sessions/{session['id']}/messages"))["items"]
    assert messages[-1]["status"] == "stopped"
    assert len(provider.log()) == 1
