"""Traces: what a collector is sent of a request, its generation, and the requests to providers for that."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor
from tests.chats import begin, chat, entry, told
from tests.collector import Collector
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import ROOT

SEES = {"provider": "scripted", "model": "sees"}
SERVER, CLIENT = 2, 3


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds
    with Collector() as collector:
        yield collector


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider.start() as provider:
        yield provider


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider, collector: Collector) -> OpenAPI:
    providers = {"scripted": entry(provider)}
    return make_app(providers, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, AUTO_TITLE="false")


def test_a_turn_is_one_trace(app: OpenAPI, user: Actor, collector: Collector) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = {"message": "a prompt that nobody may see", **SEES}
    answer = user.post("/api/v1/chat", message, headers={"traceparent": caller}, buffered=True)
    usage = answer.get_json()["data"]["usage"]

    (request,) = collector.wait(lambda span: span.name == "POST /api/v1/chat")
    (generation,) = collector.wait(lambda span: span.name == "generation")
    (attempt,) = collector.wait(lambda span: span.name == "chat sees")
    assert {span.trace for span in (request, generation, attempt)} == {caller.split("-")[1]}
    assert (request.parent, generation.parent, attempt.parent) == (caller.split("-")[2], request.id, generation.id)
    assert (request.kind, attempt.kind) == (SERVER, CLIENT)
    assert request.start <= generation.start <= attempt.start <= attempt.end <= generation.end
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["unichat.request.id"] == answer.headers["X-Request-Id"]
    assert generation.attributes["unichat.generation.id"] == answer.get_json()["data"]["generation_id"]
    assert attempt.attributes["gen_ai.provider.name"] == "scripted"
    assert attempt.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert attempt.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert not any(span.failed for span in (request, generation, attempt))
    assert collector.services == {"unichat"}
    assert b"nobody may see" not in collector.raw


def test_every_attempt_is_told(app: OpenAPI, user: Actor, collector: Collector) -> None:
    begin(user, told(status=503), **SEES).events()

    first, second = collector.wait(lambda span: span.name == "chat sees", 2)
    (generation,) = collector.wait(lambda span: span.name == "generation")
    assert first.failed
    assert first.attributes["error.type"] == second.attributes["error.type"] == "provider_unavailable"
    assert second.attributes["unichat.attempt.repeats"] == "retry"
    assert generation.failed
    assert generation.attributes["unichat.generation.end_reason"] == "upstream_error"


def test_requests_stay_apart(app: OpenAPI, user: Actor, collector: Collector) -> None:
    for _ in range(3):
        chat(user, "hello", **SEES)
    user.get("/nowhere", buffered=True)

    generations = collector.wait(lambda span: span.name == "generation", 3)
    (unmatched,) = collector.wait(lambda span: span.name == "GET")
    assert len({span.trace for span in generations}) == 3
    assert unmatched.attributes["error.type"] == "not_found"
    assert unmatched.parent == ""


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import app; app.create_app(providers={})"
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert "unichat[otel]" in done.stderr
    assert done.returncode != 0
