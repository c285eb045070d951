"""What keeps answers safe: checkpoints, leases, the reaper, the drain, and a database that is away for a while."""

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.clock import now
from domain.errors import ProviderError
from models import GenerationEntity, db
from repositories.database_time import DatabaseTime
from services import generation_keeper, generation_runner
from services.generation_store import LEASE, GenerationStore
from tests.actors import Actor, ok, refused
from tests.cable import Cable
from tests.chats import (
    Begun,
    answer_in,
    begin,
    chat,
    contents,
    ended,
    entry,
    eventually,
    let_lease_run_out,
    services,
    shown,
    told,
)
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Servers

LONG = {"words": 400, "pace_ms": 10}
SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS)


@pytest.fixture
def other_node(make_app: AppFactory, provider: ScriptedProvider, app: OpenAPI) -> OpenAPI:
    """Another node on the same database."""
    return make_app({"openai": entry(provider)}, **SETTINGS)


def _tick(app: OpenAPI) -> None:
    """One full round of the node's keeper, which does not go round by itself in tests."""
    services(app).keeper.tick(all_duties=True)


def _store(app: OpenAPI) -> GenerationStore:
    return services(app).keeper._store


def _row(app: OpenAPI, generation_id: str) -> GenerationEntity:
    with app.app_context():
        row = db.session.get(GenerationEntity, generation_id)
        assert row is not None
        return row


def _half_written(user: Actor, **script: Any) -> Begun:
    begun = begin(user, told(**{**LONG, **script}))
    begun.read_until("content")
    return begun


# Checkpoints


@pytest.mark.usefixtures("every_database")
def test_a_checkpoint_saves_what_there_is_of_running_answers(app: OpenAPI, admin: Actor) -> None:
    both = [_half_written(admin), _half_written(admin, reasoning="let me think about it", pace_ms=20)]
    assert [answer_in(admin, begun.session_id)["content"] for begun in both] == ["", ""]

    _tick(app)

    for begun in both:
        saved = answer_in(admin, begun.session_id)
        assert saved["status"] == "running"
        assert saved["content"]
        ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))
        final = answer_in(admin, begun.session_id)
        assert final["content"].startswith(saved["content"])
    assert [part["type"] for part in final["parts"]] == ["reasoning", "text"]


def test_only_answers_that_have_grown_are_saved_again(app: OpenAPI, admin: Actor) -> None:
    begun = begin(admin, told(text="a few words", fault="stall", after=2))
    begun.read_until("content")
    eventually(lambda: services(app).runner.all()[0].answer.size >= len("a few"))
    _tick(app)
    (live,) = services(app).runner.all()

    assert live.checkpointed == live.answer.size
    assert answer_in(admin, begun.session_id)["content"] == str(live.answer._text)


def test_a_late_checkpoint_does_not_touch_a_finished_answer(app: OpenAPI, admin: Actor) -> None:
    begun = _half_written(admin)
    (live,) = services(app).runner.all()
    ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))
    saved = answer_in(admin, begun.session_id)
    live.answer._text.add(" and this came too late")

    _store(app).checkpoint([(live.turn, live.answer)])

    assert answer_in(admin, begun.session_id) == saved


# Leases and the reaper


def test_the_lease_of_what_runs_here_is_renewed(app: OpenAPI, admin: Actor) -> None:
    begun = _half_written(admin)
    let_lease_run_out(app, begun.generation_id)

    _tick(app)

    row = _row(app, begun.generation_id)
    assert row.status == "running"
    assert row.lease_until > now() + LEASE / 2


@pytest.mark.usefixtures("every_database")
def test_leases_go_by_the_clock_of_the_database(app: OpenAPI, admin: Actor) -> None:
    # Nodes whose own clocks differ by more than a lease would take each other for dead.
    begun = _half_written(admin)
    with app.app_context():
        engine = db.engine
    renewals: list[Any] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("UPDATE generations SET lease_until"):
            renewals.append(parameters.values() if isinstance(parameters, dict) else parameters)

    _tick(app)

    assert renewals
    assert not any(isinstance(value, datetime) for values in renewals for value in values)
    with app.app_context():
        query = sa.select(GenerationEntity.lease_until, DatabaseTime()).where(
            GenerationEntity.id == begun.generation_id
        )
        until, at = db.session.execute(query).one()
    assert LEASE / 2 < until - at <= LEASE


@pytest.mark.usefixtures("every_database")
def test_what_a_dead_worker_left_is_interrupted_with_what_was_saved(
    app: OpenAPI, other_node: OpenAPI, admin: Actor
) -> None:
    begun = _half_written(admin)
    _tick(app)
    kept = answer_in(admin, begun.session_id)["content"]
    let_lease_run_out(app, begun.generation_id)

    _tick(other_node)

    answer = answer_in(admin, begun.session_id)
    assert (answer["status"], answer["end_reason"]) == ("interrupted", "node_lost")
    assert answer["content"] == kept != ""
    generation = ended(admin, begun.generation_id)
    assert (generation["status"], generation["end_reason"]) == ("interrupted", "node_lost")
    assert generation["finished_at"]
    assert chat(admin, "and now?", begun.session_id)["message"]["status"] == "completed"


def test_a_reader_of_a_dead_worker_learns_of_its_end_at_another_node(
    app: OpenAPI, other_node: OpenAPI, admin: Actor
) -> None:
    begun = _half_written(admin)
    _tick(app)
    let_lease_run_out(app, begun.generation_id)
    _tick(other_node)

    path = f"/api/v1/generations/{begun.generation_id}/events"
    text = Actor(other_node, admin.tokens).get(path, headers={"Last-Event-ID": "40"}).get_data(as_text=True)

    answer = answer_in(admin, begun.session_id)
    assert '"type":"replace"' in text
    assert '"type":"complete"' in text
    assert '"status":"interrupted"' in text
    assert answer["content"] in text


@pytest.mark.usefixtures("every_database")
def test_of_two_reapers_one_ends_it(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    reapers = [services(make_app()).keeper._reaper for _ in range(3)]
    abandoned = [_half_written(admin) for _ in range(3)]
    for begun in abandoned:
        let_lease_run_out(app, begun.generation_id)

    assert sum(at_once(*(reaper.reap for reaper in reapers))) == len(abandoned)

    for begun in abandoned:
        assert answer_in(admin, begun.session_id)["status"] == "interrupted"


def test_what_is_alive_is_not_reaped(app: OpenAPI, other_node: OpenAPI, admin: Actor) -> None:
    begun = _half_written(admin)

    _tick(other_node)

    assert answer_in(admin, begun.session_id)["status"] == "running"


@pytest.mark.usefixtures("every_database")
def test_a_former_owner_cannot_overwrite_what_was_ended_without_it(
    app: OpenAPI, other_node: OpenAPI, admin: Actor
) -> None:
    begun = _half_written(admin, words=250)  # on a busy machine too, it must be reaped before it ends
    _tick(app)
    let_lease_run_out(app, begun.generation_id)
    _tick(other_node)
    reaped = answer_in(admin, begun.session_id)

    events = begun.events()  # the former owner was only slow, and goes on to its end

    assert answer_in(admin, begun.session_id) == reaped
    assert (events[-1]["type"], events[-1]["message"]["status"]) == ("complete", "interrupted")
    assert shown(events) == reaped["content"]


def test_an_owner_of_another_epoch_cannot_end_it(app: OpenAPI, admin: Actor) -> None:
    begun = _half_written(admin, words=60)
    with app.app_context():
        db.session.execute(sa.update(GenerationEntity).values(epoch=2, owner="somebody else"))
        db.session.commit()

    eventually(lambda: not services(app).runner.all())

    assert answer_in(admin, begun.session_id)["status"] == "running"


def test_a_former_owner_stops_asking_the_provider_when_it_hears_of_its_loss(
    app: OpenAPI, other_node: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    begun = _half_written(admin)
    let_lease_run_out(app, begun.generation_id)
    _tick(other_node)

    services(app).keeper.tick(all_duties=False)

    assert provider.wait_closed()["end"] == "client_closed"
    eventually(lambda: not services(app).runner.all())
    assert answer_in(admin, begun.session_id)["end_reason"] == "node_lost"


def test_what_a_living_worker_has_lost_sight_of_is_reaped_too(
    app: OpenAPI, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = ok(admin.post("/api/v1/sessions", {}), 201)["id"]
    with monkeypatch.context() as broken:
        broken.setattr(generation_runner.threading.Thread, "start", _no_more_threads)
        assert admin.post("/api/v1/chat", {"message": "one", "session_id": session_id}).status_code == 500
    answer = answer_in(admin, session_id)
    assert answer["status"] == "running"
    let_lease_run_out(app, answer["generation_id"])

    _tick(app)

    assert answer_in(admin, session_id)["end_reason"] == "node_lost"
    assert chat(admin, "two", session_id)["message"]["status"] == "completed"


def _no_more_threads(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_duty_that_fails_does_not_keep_the_keeper_from_the_others(
    app: OpenAPI, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = _half_written(admin)
    let_lease_run_out(app, begun.generation_id)
    with app.app_context():
        db.session.execute(sa.update(GenerationEntity).values(stop_requested=True))
        db.session.commit()

    def fail(*_: object) -> None:
        raise ValueError("an answer that cannot be saved")

    monkeypatch.setattr(GenerationStore, "checkpoint", fail)
    _tick(app)

    assert ended(admin, begun.generation_id)["status"] == "stopped"


@pytest.mark.usefixtures("every_database")
def test_text_that_no_database_can_hold_is_saved_without_what_it_cannot(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    provider.script(tokens=["NUL \0 inside. "] * 40, pace_ms=5)
    odd = begin(admin, "one")
    odd.read_until("content")
    plain = _half_written(admin)

    _tick(app)

    assert answer_in(admin, odd.session_id)["content"].startswith("NUL  inside. ")
    assert answer_in(admin, plain.session_id)["content"]
    assert ended(admin, odd.generation_id)["status"] == "completed"
    assert answer_in(admin, odd.session_id)["content"] == "NUL  inside. " * 40


# The drain


def test_a_draining_node_takes_no_new_turn_and_lets_short_ones_end(app: OpenAPI, admin: Actor) -> None:
    begun = _half_written(admin, words=40)

    services(app).runner.begin_drain()
    response = admin.post("/api/v1/chat", {"message": "too late"})
    services(app).runner.drain(30)

    refused(response, 503, "shutting_down")
    assert int(response.headers["Retry-After"]) > 0
    assert answer_in(admin, begun.session_id)["status"] == "completed"
    assert len(ok(admin.get("/api/v1/sessions"))["items"]) == 1


def test_a_drain_interrupts_what_is_too_long_and_saves_it(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    several = [_half_written(admin) for _ in range(3)]

    services(app).runner.drain(0.1)

    for begun in several:
        events = begun.events()
        answer = answer_in(admin, begun.session_id)
        assert (answer["status"], answer["end_reason"]) == ("interrupted", "shutdown")
        assert answer["content"] == events[-1]["message"]["content"] != ""
    eventually(lambda: provider.stats()["open_streams"] == 0)


def test_a_turn_that_was_let_in_just_before_the_drain_is_not_forgotten(
    app: OpenAPI, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = services(app).runner
    runner.drain(0)
    monkeypatch.setattr(runner, "check_open", lambda: None)  # it was asked a moment ago

    begun = begin(admin, told(**LONG))

    assert begun.events()[-1]["message"]["end_reason"] == "shutdown"
    assert answer_in(admin, begun.session_id)["status"] == "interrupted"


def test_a_stop_wins_over_the_drain(app: OpenAPI, admin: Actor) -> None:
    begun = _half_written(admin)
    ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))

    services(app).runner.drain(0)

    assert answer_in(admin, begun.session_id)["end_reason"] == "user_stop"


# The database is away


@pytest.fixture(params=["mariadb", "postgresql"])
def cable(request: pytest.FixtureRequest, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cable]:
    """The way to the database of all applications."""
    server = servers.database(request.param)
    url = server.migrated_database()
    with Cable(server.port) as cable:
        monkeypatch.setenv("DATABASE_URL", url.replace(f":{server.port}/", f":{cable.port}/"))
        yield cable
    server.drop(url)


def test_an_answer_that_ends_while_the_database_is_away_is_saved_when_it_is_back(
    cable: Cable, app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    begun = begin(admin, told(words=30, pace_ms=10))
    begun.read_until("content")
    cable.cut()
    refused(admin.post("/api/v1/chat", {"message": "now?"}), 503, "database_unavailable")
    _tick(app)
    sent = provider.wait_closed()["text_sent"]
    assert services(app).runner.all()

    cable.mend()

    assert ended(admin, begun.generation_id)["status"] == "completed"
    assert answer_in(admin, begun.session_id)["content"] == sent
    assert begun.events()[-1]["message"]["content"] == sent


def test_after_an_outage_owners_are_given_time_before_they_are_taken_for_dead(
    cable: Cable, app: OpenAPI, other_node: OpenAPI, admin: Actor
) -> None:
    begun = _half_written(admin)
    cable.cut()
    _tick(other_node)
    cable.mend()
    let_lease_run_out(app, begun.generation_id)  # as it has during the outage

    _tick(other_node)
    assert answer_in(admin, begun.session_id)["status"] == "running"

    _tick(app)  # the owner is back
    assert _row(app, begun.generation_id).lease_until > now()


def test_an_answer_that_cannot_be_saved_in_time_is_no_success(
    cable: Cable, app: OpenAPI, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.generation_store._SAVE_FOR_S", 0.2)
    begun = begin(admin, told(words=10, pace_ms=10))
    begun.read_until("content")
    cable.cut()

    events = begun.events()
    cable.mend()

    assert (events[-1]["type"], events[-1]["code"]) == ("error", "generation_lost")
    let_lease_run_out(app, begun.generation_id)
    monkeypatch.setattr(services(app).keeper, "_reap_from", 0.0)
    _tick(app)
    assert answer_in(admin, begun.session_id)["status"] == "interrupted"


# What the schedule promises


def test_readers_learn_within_15_seconds_that_a_worker_has_died() -> None:
    renewed_every = generation_keeper._BEAT_S * generation_keeper._ALL

    assert LEASE.total_seconds() + renewed_every <= 15
    assert LEASE.total_seconds() >= 3 * renewed_every


def test_every_moment_of_a_generation_is_in_its_record(app: OpenAPI, admin: Actor) -> None:
    begun = begin(admin, told(words=10, pace_ms=2, first_token_ms=30))
    begun.events()

    generation = ok(admin.get(f"/api/v1/generations/{begun.generation_id}"))

    moments = [datetime.fromisoformat(generation[name]) for name in ("created_at", "first_token_at", "finished_at")]
    assert moments == sorted(moments)


def test_a_producer_that_breaks_ends_its_answer(app: OpenAPI, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapters.openai_adapter import OpenAIAdapter

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(OpenAIAdapter, "_stream", broken)
    session_id = ok(admin.post("/api/v1/sessions", {}), 201)["id"]

    refused(admin.post("/api/v1/chat", {"message": "hi", "session_id": session_id}), 502, "internal_error")

    answer = answer_in(admin, session_id)
    assert (answer["status"], answer["error_code"]) == ("failed", ProviderError("", "internal_error").error_code)
    assert contents(admin, session_id) == ["hi", ""]
