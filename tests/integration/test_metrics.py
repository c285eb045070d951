"""What /metrics says is what has happened, to whoever has its token."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, ok, refused
from tests.chats import Begun, begin, chat, ended, entry, eventually, let_lease_run_out, services, told
from tests.conftest import AppFactory
from tests.exposition import Figures, scrape
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis

TOKEN = "a-token-for-prometheus"
KEY = "sk-canary-91b7"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider.start() as provider:
        yield provider


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"scripted": entry(provider, api_key=KEY)}, METRICS_TOKEN=TOKEN, AUTO_TITLE="false")


def figures(app: OpenAPI) -> Figures:
    return scrape(app, TOKEN)


SEES = {"provider": "scripted", "model": "sees"}


def test_only_the_token_for_metrics_opens_them(app: OpenAPI, admin: Actor) -> None:
    client = app.test_client()

    for authorization in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        refused(client.get("/metrics", headers=authorization), 401, "not_authenticated")
    refused(admin.get("/metrics"), 401, "not_authenticated")
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")


def test_the_token_opens_nothing_else(app: OpenAPI) -> None:
    answer = app.test_client().get("/api/v1/sessions", headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == 401


def test_without_a_token_of_the_operators_one_is_made_and_kept(make_app: AppFactory, tmp_path: Path) -> None:
    app = make_app()
    file = tmp_path / "data" / "metrics_token"

    assert file.stat().st_mode & 0o777 == 0o600
    assert scrape(app, file.read_text()).value("unichat_workers") == 1
    make_app()
    assert scrape(app, file.read_text()).value("unichat_workers") == 1
    assert app.test_client().get("/metrics").status_code == 401


def test_requests_are_counted_by_route_and_errors_by_code(app: OpenAPI, user: Actor) -> None:
    before = figures(app)

    for _ in range(3):
        user.get("/api/v1/sessions", buffered=True)
    user.get("/api/v1/sessions/sess_nothing", buffered=True)
    app.test_client().get("/api/v1/sessions", buffered=True)

    now = figures(app) - before
    listed = {"route": "/api/v1/sessions", "method": "GET"}
    assert now.value("unichat_http_request_seconds_count", **listed, status="2xx") == 3
    assert now.value("unichat_http_request_seconds_count", **listed, status="4xx") == 1
    assert now.value("unichat_http_errors_total", status="404", code="session_not_found") == 1
    assert now.value("unichat_http_errors_total", status="401", code="not_authenticated") == 1


def test_what_clients_make_up_adds_no_series(app: OpenAPI, user: Actor, provider: ScriptedProvider) -> None:
    client = app.test_client()

    def flood(start: int) -> None:
        for number in range(start, start + 20):
            client.get(f"/nowhere/{number}", buffered=True)
            client.open("/healthz", method=f"X{number}", buffered=True)
            user.get(f"/api/v1/sessions/sess_{number}", buffered=True)
            chat(user, f"hello {number}", provider="scripted", model=f"made-up-{number}")

    flood(0)
    first = figures(app)
    flood(100)
    second = figures(app)

    assert set(second.samples) == set(first.samples)
    assert second.value("unichat_generations_total", provider="scripted", model="other") == 40
    assert second.total("unichat_http_request_seconds_count", route="unmatched") == 80  # paths, and methods
    assert not any("made-up" in str(key) or "/nowhere" in str(key) for key in second.samples)


def test_generations_tokens_and_calls_are_those_that_happened(app: OpenAPI, user: Actor) -> None:
    before = figures(app)

    usages = [chat(user, told(words=words), **SEES)["usage"] for words in (5, 11)]

    now = figures(app) - before
    assert now.value("unichat_generations_total", **SEES, status="completed", end_reason="stop") == 2
    assert now.total("unichat_generations_total") == 2
    for kind in ("prompt", "completion"):
        counted = now.value("unichat_tokens_total", **SEES, kind=kind, source="provider")
        assert counted == sum(usage[f"{kind}_tokens"] for usage in usages) > 0
    assert now.value("unichat_ledger_entries_total", kind="chat", state="settled") == 2
    assert now.value("unichat_provider_calls_total", **SEES, outcome="answered", code="") == 2
    for name in ("generation_seconds", "generation_first_token_seconds", "provider_first_token_seconds"):
        assert now.value(f"unichat_{name}_count", **SEES) == 2
        assert 0 < now.value(f"unichat_{name}_sum", **SEES) < 60


def test_cost_is_what_the_ledger_says_and_refusals_by_budgets_show(app: OpenAPI, admin: Actor, user: Actor) -> None:
    ok(admin.put("/api/v1/prices", SEES | {"input": "2.5", "output": 10}))
    ok(admin.put(f"/api/v1/users/{user.id}/budgets", {"total": {"requests": 1}}))
    before = figures(app)

    usage = chat(user, told(words=7), **SEES)["usage"]
    refusal = user.post("/api/v1/chat", {"message": "once more", **SEES}, buffered=True)

    now = figures(app) - before
    dollars = (usage["prompt_tokens"] * 2.5 + usage["completion_tokens"] * 10) / 1_000_000
    assert dollars > 0
    assert now.value("unichat_cost_usd_total", **SEES) == pytest.approx(dollars)
    status = str(refusal.status_code)
    assert now.value("unichat_http_errors_total", code="budget_exceeded", status=status) == 1


@pytest.mark.parametrize(
    ("script", "status", "end_reason", "code"),
    [
        ({"finish_reason": "length"}, "completed", "length", None),
        ({"status": 401}, "failed", "upstream_error", "provider_denied"),
        ({"words": 20, "fault": "cut", "after": 5}, "failed", "upstream_cut", "upstream_cut"),
    ],
)
def test_each_end_is_counted_as_what_it_was(
    app: OpenAPI, user: Actor, script: dict[str, object], status: str, end_reason: str, code: str | None
) -> None:
    before = figures(app)

    user.post("/api/v1/chat", {"message": told(**script), **SEES})

    now = figures(app) - before
    assert now.value("unichat_generations_total", **SEES, status=status, end_reason=end_reason) == 1
    assert now.total("unichat_generations_total") == 1
    assert now.total("unichat_generation_failures_total") == (1 if code else 0)
    if code:
        assert now.value("unichat_generation_failures_total", **SEES, code=code) == 1
        assert now.value("unichat_provider_calls_total", **SEES, outcome="failed", code=code) >= 1


def test_retries_are_counted(app: OpenAPI, user: Actor) -> None:
    before = figures(app)

    user.post("/api/v1/chat", {"message": told(status=503), **SEES})

    now = figures(app) - before
    assert now.value("unichat_provider_calls_total", **SEES, outcome="failed", code="provider_unavailable") == 2
    assert now.value("unichat_provider_repeats_total", **SEES, kind="retry") == 1
    assert now.value("unichat_ledger_entries_total", kind="chat", state="released") == 2
    assert now.total("unichat_tokens_total") == 0


def test_what_another_node_ends_is_counted_there_and_once(
    app: OpenAPI, user: Actor, make_app: AppFactory, provider: ScriptedProvider
) -> None:
    other = make_app({"scripted": entry(provider)}, METRICS_TOKEN=TOKEN, AUTO_TITLE="false")
    begun = begin(user, told(words=2000, pace_ms=5), **SEES)
    begun.read_until("content")
    services(app).keeper.tick(all_duties=True)
    let_lease_run_out(app, begun.generation_id)
    services(other).keeper.tick(all_duties=True)
    services(app).keeper.tick(all_duties=False)  # its owner hears of the loss, and ends too
    eventually(lambda: not services(app).runner.all())

    ends = {"status": "interrupted", "end_reason": "node_lost"}
    assert figures(other).value("unichat_generations_total", **SEES, **ends) == 1
    assert figures(other).value("unichat_ledger_entries_total", kind="chat", state="settled") == 1
    assert figures(other).value("unichat_tokens_total", **SEES, kind="completion", source="partial") > 0
    for name in ("generations_total", "ledger_entries_total", "tokens_total"):
        assert figures(app).total(f"unichat_{name}") == 0
    assert figures(app).value("unichat_provider_calls_total", **SEES, outcome="stopped") == 1


def test_streams_and_running_generations_are_there_while_they_last(app: OpenAPI, user: Actor) -> None:
    route = "/api/v1/chat/stream"
    begun = Begun(user.post("/api/v1/chat/stream", {"message": told(words=500, pace_ms=10), **SEES}))
    begun.read_until("content")

    now = figures(app)
    assert now.value("unichat_http_streams", route=route) == 1
    assert now.value("unichat_generations_running") == 1

    begun.response.close()
    assert figures(app).value("unichat_http_streams", route=route) == 0
    assert figures(app).value("unichat_generations_running") == 1
    user.post("/api/v1/chat/stop", {"generation_id": begun.generation_id})
    ended(user, begun.generation_id)
    eventually(lambda: figures(app).value("unichat_generations_running") == 0)

    now = figures(app)
    assert now.value("unichat_generations_total", **SEES, status="stopped", end_reason="user_stop") == 1
    assert now.value("unichat_http_first_byte_seconds_count", route=route) == 1
    assert now.value("unichat_tokens_total", **SEES, kind="completion", source="partial") > 0


def test_an_open_breaker_shows(app: OpenAPI, user: Actor) -> None:
    assert figures(app).value("unichat_breaker_state", **SEES) == 0

    for _ in range(3):
        user.post("/api/v1/chat", {"message": told(status=503), **SEES})

    assert figures(app).value("unichat_breaker_state", **SEES) == 3
    assert figures(app).value("unichat_breaker_state", provider="scripted", model="blind") == 0


def test_the_parts_of_a_worker_show(app: OpenAPI, user: Actor) -> None:
    before = figures(app)
    services(app).keeper.tick(all_duties=True)
    now = figures(app)

    assert (now - before).value("unichat_keeper_duty_seconds_count", duty="reap") == 1
    assert (now - before).value("unichat_keeper_duty_seconds_count", duty="save_texts") == 1
    assert (now - before).value("unichat_database_wait_seconds_count") >= 1
    assert now.value("unichat_database_connections_max") == 20
    assert now.value("unichat_worker_resident_bytes") > 10_000_000
    assert now.value("unichat_worker_open_fds") > 3
    assert now.value("unichat_worker_cpu_seconds_total") <= time.process_time()
    assert now.total("unichat_build_info") == 1


def test_a_database_that_cannot_serve_is_counted(app: OpenAPI, user: Actor, tmp_path: Path) -> None:
    before = figures(app)
    database = tmp_path / "data" / "unichat.db"
    content = database.read_bytes()
    os.truncate(database, 0)
    assert user.get("/api/v1/sessions").status_code == 503
    database.write_bytes(content)

    assert (figures(app) - before).value("unichat_database_failures_total", kind="unavailable") >= 1


def test_a_redis_that_goes_away_shows(make_app: AppFactory, own_redis: Redis) -> None:
    app = make_app(REDIS_URL=own_redis.url, METRICS_TOKEN=TOKEN)
    assert figures(app).value("unichat_helper_up", part="redis") == 1
    for way in ("in", "out"):
        assert figures(app).value("unichat_event_log_lag_seconds", way=way) < 1

    own_redis.stop()
    assert figures(app).value("unichat_helper_up", part="redis") == 0
    eventually(lambda: figures(app).value("unichat_event_log_lag_seconds", way="in") > 1)


def test_nothing_secret_is_told(app: OpenAPI, user: Actor) -> None:
    chat(user, "a prompt that nobody may see", **SEES)
    answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    text = answer.get_data(as_text=True)

    for secret in (KEY, TOKEN, user.id, "grace", "prompt that", "sess_", "gen_", "127.0.0.1"):
        assert secret not in text
