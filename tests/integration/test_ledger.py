"""The books: every request to a provider has a row, settled once, with what the provider says it was."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.chat import ChatRequest
from domain.clock import now
from domain.errors import Conflict
from domain.generation import EndReason
from domain.usage import Usage
from models import LedgerEntity, db
from repositories.ledger_statements import entry_of
from repositories.plain import PlainConnection
from repositories.prepared import Result
from services.charges import Charge
from services.ledger import Hold
from tests.actors import Actor, add_user, ok, set_up
from tests.books import billed, entries, reported, tokens
from tests.chats import answer_in, begin, chat, ended, entry, eventually, let_lease_run_out, services, told
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

LONG = {"words": 400, "pace_ms": 10}
SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "100000 per minute", "RATE_LIMIT_CHAT": "100000 per minute"}
USED = {"prompt_tokens": 11, "completion_tokens": 7}
pytestmark = pytest.mark.usefixtures("every_database")


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS)


def sweep(app: OpenAPI) -> int:
    return services(app).books.ledger.sweep(timedelta(0))


def reap(app: OpenAPI) -> int:
    return services(app).keeper._reaper.reap()


# One row, settled once


def test_a_turn_is_reserved_while_it_runs_and_settled_with_the_providers_count(app: OpenAPI, admin: Actor) -> None:
    begun = begin(admin, told(**LONG, usage=USED))

    (reserved,) = entries(app)
    assert (reserved.state, reserved.source, reserved.settled_at) == ("reserved", None, None)
    assert (reserved.user_id, reserved.session_id) == (admin.id, begun.session_id)
    assert (reserved.generation_id, reserved.attempt) == (begun.generation_id, 1)
    assert (reserved.provider, reserved.model, reserved.public_model) == ("openai", "sees", "sees")
    assert reserved.held_tokens == (reserved.prompt_tokens or 0) + 500

    begun.events()
    (settled,) = entries(app)
    assert (settled.state, settled.source, settled.end_reason) == ("settled", "provider", "stop")
    assert tokens(settled) == (11, 7)
    assert settled.settled_at
    usage = answer_in(admin, begun.session_id)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 7)


def test_an_asked_limit_bounds_what_is_reserved(app: OpenAPI, admin: Actor) -> None:
    chat(admin, "hello", config={"max_tokens": 20})
    chat(admin, "hello", config={"max_tokens": 9000})

    held = [entry.held_tokens for entry in entries(app)]
    assert held[1] - held[0] == 480  # the model gives 500 at most


def test_a_zero_of_the_provider_stays_zero(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=5, usage="zero"))

    (entry,) = entries(app)
    assert (tokens(entry), entry.source, entry.state) == ((0, 0), "provider", "settled")


@pytest.mark.parametrize("count", [-1, 10**12])
def test_a_count_that_nobody_can_believe_is_none(app: OpenAPI, admin: Actor, count: int) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": count}
    message = chat(admin, told(words=5, usage=usage))["message"]

    (entry,) = entries(app)
    assert (entry.source, entry.state, message["status"]) == ("estimated", "settled", "completed")
    assert 0 < (entry.completion_tokens or 0) < 20


@pytest.mark.parametrize("provider_only", [False, True])
def test_what_the_provider_does_not_count_is_estimated(
    make_app: AppFactory, provider: ScriptedProvider, provider_only: bool
) -> None:
    app = make_app({"openai": entry(provider)}, USAGE_PROVIDER_ONLY=provider_only, **SETTINGS)
    message = chat(set_up(app), told(words=5, usage="off"))["message"]

    (entry_,) = entries(app)
    assert (entry_.state, entry_.source) == ("settled", "estimated")
    assert (entry_.prompt_tokens or 0) > 5
    assert 0 < (entry_.completion_tokens or 0) < 20
    assert (message["usage"] is None) == provider_only


def test_an_answer_that_was_stopped_is_counted_as_far_as_it_came(app: OpenAPI, admin: Actor) -> None:
    begun = begin(admin, told(**LONG))
    begun.read_until("content")
    ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))

    (entry,) = entries(app)
    assert (entry.state, entry.source, entry.end_reason) == ("settled", "partial", "user_stop")
    assert 0 < (entry.completion_tokens or 0) < 400


def test_a_stop_before_the_first_token_releases(app: OpenAPI, admin: Actor) -> None:
    begun = begin(admin, told(words=5, first_token_ms=60_000))
    ok(admin.post("/api/v1/chat/stop", {"session_id": begun.session_id}))

    (entry,) = entries(app)
    assert (entry.state, entry.end_reason, tokens(entry)) == ("released", "user_stop", (None, None))
    assert entry.settled_at


def test_settling_twice_changes_nothing(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=5, usage=USED))
    (entry,) = entries(app)
    charges = [Charge("openai", "sees", Usage(1, 1)), Charge("openai", "sees", Usage(1, 1))]
    store = services(app).keeper._store

    with store._unit_of_work() as uow:
        assert not store.ledger.settle(uow, Hold(entry_of(entry), {}), charges, EndReason.STOP)
        uow.commit()

    assert [tokens(entry) for entry in entries(app)] == [(11, 7)]


def test_a_second_row_for_one_attempt_is_refused(app: OpenAPI, admin: Actor) -> None:
    chat(admin, "hello")
    (entry,) = entries(app)
    ledger, model = services(app).books.ledger, services(app).providers.all()[0].models[0]

    with pytest.raises(Conflict), ledger._unit_of_work() as uow:
        for _ in range(2):
            ledger.reserve(
                uow, ledger.prepare_title(Hold(entry_of(entry), {}), "openai", model, ChatRequest("sees", []))
            )


# Several attempts


def test_every_attempt_has_a_row(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    provider.script({"status": 500}, {"text": "Whether I shall", "usage": USED})
    chat(admin, "hello")

    failed, answered = entries(app)
    assert (failed.attempt, failed.state, failed.error_code) == (1, "released", "provider_unavailable")
    assert (failed.end_reason, failed.cost, tokens(failed)) == ("upstream_error", 0, (None, None))
    assert (answered.attempt, answered.state, answered.source, answered.end_reason) == (
        2,
        "settled",
        "provider",
        "stop",
    )
    assert (tokens(answered), answered.held_tokens, answered.error_code) == ((11, 7), 0, None)


def test_an_attempt_that_wrote_before_it_failed_is_counted(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    text = "Whether I shall turn out to be the hero of my own life, these pages must show."
    provider.script({"text": text, "fault": "cut", "fraction": 0.5}, {"text": text, "usage": USED})
    chat(admin, "hello")

    cut, answered = entries(app)
    assert (cut.state, cut.source, cut.error_code) == ("settled", "partial", "upstream_cut")
    assert 0 < (cut.completion_tokens or 0) < 20
    assert (tokens(answered), answered.end_reason) == ((11, 7), "stop")


def test_a_turn_that_no_provider_answers_costs_nothing_and_is_there(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    provider.script(status=401)
    assert admin.post("/api/v1/chat", {"message": "hello"}).status_code == 502

    (entry,) = entries(app)
    assert (entry.state, entry.error_code, entry.end_reason) == ("released", "provider_denied", "upstream_error")


# Whoever dies, or is deleted


def test_the_reaper_settles_what_was_saved(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    begun = begin(admin, told(**LONG))
    begun.read_until("content")
    services(app).keeper.tick(all_duties=True)
    reserved = entries(app)[0]
    let_lease_run_out(app, begun.generation_id)

    assert reap(make_app()) == 1

    (entry,) = entries(app)
    assert (entry.state, entry.source, entry.end_reason) == ("settled", "partial", "node_lost")
    assert entry.prompt_tokens == reserved.prompt_tokens
    assert (entry.completion_tokens or 0) > 0
    services(app).runner.drain(0)
    assert tokens(entries(app)[0]) == tokens(entry)  # its former owner comes too late


def test_the_reaper_releases_what_has_written_nothing(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    begun = begin(admin, told(words=5, first_token_ms=60_000))
    let_lease_run_out(app, begun.generation_id)

    assert reap(make_app()) == 1

    assert entries(app)[0].state == "released"


def test_of_an_end_and_a_reaper_one_settles(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    reaper = make_app()
    for _ in range(5):
        begun = begin(admin, told(**LONG))
        begun.read_until("content")
        let_lease_run_out(app, begun.generation_id)
        stop = {"generation_id": begun.generation_id}

        at_once(lambda: reap(reaper), lambda stop=stop: admin.post("/api/v1/chat/stop", stop).status_code)

        eventually(lambda: not services(app).runner.all())
        (entry,) = entries(app, generation_id=begun.generation_id)
        assert entry.state in ("settled", "released")
        assert entry.end_reason == ended(admin, begun.generation_id)["end_reason"]


def test_a_deleted_session_keeps_its_rows(app: OpenAPI, admin: Actor) -> None:
    finished = chat(admin, told(words=5, usage=USED))["session_id"]
    running = begin(admin, told(**LONG))
    running.read_until("content")

    for session_id in (finished, running.session_id):
        ok(admin.delete(f"/api/v1/sessions/{session_id}"))

    eventually(lambda: not services(app).runner.all())
    whole, cut = entries(app)
    assert (whole.session_id, tokens(whole)) == (finished, (11, 7))
    assert (cut.state, cut.source, cut.end_reason) == ("settled", "partial", "user_stop")


def test_a_deleted_user_keeps_their_rows(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")
    chat(grace, told(words=5, usage=USED))
    running = begin(grace, told(**LONG))
    running.read_until("content")

    ok(admin.delete(f"/api/v1/users/{grace.id}"))
    services(app).keeper.tick(all_duties=True)

    eventually(lambda: not services(app).runner.all())
    assert {entry.user_id for entry in entries(app)} == {grace.id}
    assert [entry.state for entry in entries(app)] == ["settled", "settled"]


def test_what_nobody_will_settle_is_released(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=5, usage=USED))
    running = begin(admin, told(words=5, first_token_ms=60_000))
    with app.app_context():
        rows = [("gen_gone", "chat"), (entries(app)[0].generation_id, "title")]
        for number, (generation_id, kind) in enumerate(rows):
            db.session.add(_left_over(f"led_{number}", admin.id, generation_id, kind, 0))
        db.session.commit()
    services(app).keeper.tick(all_duties=True)  # they may still be settled
    assert entries(app, "title")[0].state == "reserved"

    assert sum(at_once(*[lambda: sweep(app)] * 4)) == 2

    assert [entry.state for entry in entries(app)] == ["settled", "reserved", "released"]
    assert [entry.state for entry in entries(app, "title")] == ["released"]
    assert entries(app)[1].generation_id == running.generation_id


def test_the_keeper_releases_what_is_older_than_any_answer(app: OpenAPI, admin: Actor) -> None:
    with app.app_context():
        db.session.add_all(
            _left_over(f"led_{minutes}", admin.id, f"gen_{minutes}", "chat", minutes) for minutes in (7, 9)
        )
        db.session.commit()

    services(app).keeper.tick(all_duties=True)  # an answer may take five minutes, and its end wait for three more

    assert [(entry.id, entry.state) for entry in entries(app)] == [("led_9", "released"), ("led_7", "reserved")]


def _left_over(entry_id: str, user_id: str, generation_id: str, kind: str, minutes: int) -> LedgerEntity:
    return LedgerEntity(
        id=entry_id,
        user_id=user_id,
        session_id="sess_gone",
        generation_id=generation_id,
        attempt=1,
        kind=kind,
        provider="openai",
        model="sees",
        public_model="sees",
        state="reserved",
        cost=0,
        held_tokens=10,
        held_cost=0,
        budgeted=False,
        key_budgeted=False,
        created_at=now() - timedelta(minutes=minutes),
    )


# Titles


def test_a_title_has_a_row_of_its_own(make_app: AppFactory, provider: ScriptedProvider) -> None:
    app = make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True})
    user = set_up(app)
    provider.script({"text": "Everest."}, {"text": "The Highest Mountain", "usage": USED})
    answer = chat(user, "What is the tallest mountain?")

    settled = eventually(lambda: entries(app, "title", state="settled"))

    (title,) = settled
    assert (title.generation_id, title.session_id) == (answer["generation_id"], answer["session_id"])
    assert (tokens(title), title.source, title.end_reason) == ((11, 7), "provider", "stop")
    assert len(entries(app)) == 1


@pytest.mark.parametrize(("script", "state"), [({"status": 500}, "released"), ({"fault": "cut"}, "settled")])
def test_a_title_that_fails_is_in_the_books(
    make_app: AppFactory, provider: ScriptedProvider, script: dict[str, Any], state: str
) -> None:
    app = make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True})
    provider.script({"text": "Everest."}, script)
    chat(set_up(app), "What is the tallest mountain?")

    (title,) = eventually(lambda: [row for row in entries(app, "title") if row.state != "reserved"])

    assert title.state == state
    assert title.error_code


# All of it


def test_what_is_billed_is_what_the_provider_says(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    scripts: list[dict[str, Any]] = [
        {"words": 30},
        {"words": 12, "reasoning": "let me think"},
        {"words": 5, "usage": {"prompt_tokens": 123, "completion_tokens": 45}},
        {"words": 5, "usage": "zero"},
        {"status": 500},
        {"words": 9},
    ]
    provider.script(*scripts)
    for _ in range(len(scripts) - 1):
        chat(admin, "hello")

    assert billed(app) == reported(provider) > 0
    assert {entry.state for entry in entries(app)} == {"settled", "released"}
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(LedgerEntity)) == len(scripts)


# What it costs


@pytest.mark.parametrize("budgeted", [False, True])
def test_a_turns_books_take_few_statements(
    app: OpenAPI, admin: Actor, monkeypatch: pytest.MonkeyPatch, budgeted: bool
) -> None:
    if budgeted:
        ok(admin.put(f"/api/v1/users/{admin.id}/budgets", {"day": {"requests": 100}}))
    session_id = chat(admin, "hello")["session_id"]
    statements: list[str] = []
    execute = PlainConnection.exec_driver_sql

    def note(connection: PlainConnection, statement: str, *parameters: Any) -> Result:
        statements.append(statement)
        return execute(connection, statement, *parameters)

    monkeypatch.setattr(PlainConnection, "exec_driver_sql", note)

    chat(admin, "hello again", session_id)

    about = [one.split()[0] for one in statements if "ledger" in one or "budgets" in one]
    assert sorted(about) == sorted(["SELECT", "INSERT", "UPDATE", *["UPDATE", "UPDATE"] * budgeted])
