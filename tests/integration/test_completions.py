"""Answers that nothing is stored of: what they give, and what the books say of them, however they end."""

import threading

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.chat import ChatRequest, PromptMessage
from domain.deltas import TextDelta, one_by_one
from domain.errors import BudgetExceeded, NotAuthenticated, NotFound, ProviderError, Unavailable
from domain.generation import EndReason
from domain.ledger import EntryState
from domain.messages import MessageRole, Text
from domain.principal import Principal, Role
from models import GenerationEntity, MessageEntity, SessionEntity, db
from services.completion_service import Completion
from tests.actors import Actor, ok
from tests.books import entries, tokens
from tests.chats import entry, eventually, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

SLOW = {"words": 400, "pace_ms": 10}
USED = {"prompt_tokens": 11, "completion_tokens": 7}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, AUTO_TITLE=False)


def begin(
    app: OpenAPI,
    caller: Actor,
    text: str,
    model: str = "sees",
    choices: int = 1,
    principal: Principal | None = None,
) -> Completion:
    principal = principal or Principal(caller.id, "ada", Role.USER, "sign-in")
    asked = ChatRequest("", [PromptMessage(MessageRole.USER, [Text(text)])], whole=True, choices=choices)
    return services(app).completions.begin(principal, model, asked)


def said(completion: Completion) -> str:
    return "".join(delta.text for delta in one_by_one(completion.deltas()) if isinstance(delta, TextDelta))


def test_an_answer_is_settled_at_its_end_and_nothing_else_is_stored(app: OpenAPI, admin: Actor) -> None:
    completion = begin(app, admin, told(text="All is well.", usage=USED))
    (reserved,) = entries(app)
    assert (reserved.state, reserved.generation_id) == ("reserved", completion.id)
    assert (reserved.user_id, reserved.session_id) == (admin.id, None)

    assert said(completion) == "All is well."

    (settled,) = entries(app)
    assert (settled.state, settled.source, settled.end_reason, tokens(settled)) == (
        "settled",
        "provider",
        "stop",
        (11, 7),
    )
    assert completion.usage is not None
    assert completion.usage.total_tokens == 18
    assert completion.tally.text == "All is well."
    with app.app_context():
        for entity in (GenerationEntity, MessageEntity, SessionEntity):
            assert db.session.scalar(sa.select(sa.func.count()).select_from(entity)) == 0


def test_where_nobody_counted_every_answer_that_was_asked_for_counts(app: OpenAPI, admin: Actor) -> None:
    for choices in (1, 3):
        said(begin(app, admin, told(text="All is well.", usage="off"), choices=choices))

    one, three = entries(app)
    assert (one.source, three.source) == ("estimated", "estimated")
    assert one.completion_tokens
    assert three.completion_tokens == 3 * one.completion_tokens


def test_a_client_that_never_reads_the_end_pays_all_the_same(app: OpenAPI, admin: Actor) -> None:
    young = begin(app, admin, told(**SLOW))
    stuck = begin(app, admin, told(text="All is well.", usage=USED))
    heard = next(one_by_one(stuck.deltas()))
    assert isinstance(heard, TextDelta)
    stuck.created -= 6 * 60 + 1  # an answer may take five minutes, and its end is waited for a minute

    services(app).desk.settle_overdue()

    rows = {row.generation_id: row for row in entries(app)}
    assert (rows[stuck.id].state, rows[stuck.id].end_reason) == ("settled", "timeout_total")
    assert (rows[stuck.id].completion_tokens or 0) > 0
    assert rows[young.id].state == "reserved"
    stuck.close()
    young.close()
    assert services(app).desk.count() == 0


def test_a_client_that_leaves_stops_the_provider_and_pays_for_what_it_got(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    completion = begin(app, admin, told(**SLOW))
    deltas = completion.deltas()
    first = next(one_by_one(deltas))
    assert isinstance(first, TextDelta)

    completion.close()

    assert provider.wait_closed(provider.last()["id"])["end"] == "client_closed"
    (row,) = entries(app)
    assert (row.state, row.source, row.end_reason) == ("settled", "partial", "user_stop")
    assert 0 < (row.completion_tokens or 0) < 400
    assert services(app).desk.count() == 0


def test_who_never_reads_pays_nothing_and_sends_nothing(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    begin(app, admin, "hello").close()

    (row,) = entries(app)
    assert (row.state, row.end_reason) == ("released", "user_stop")
    assert provider.log() == []


def test_an_api_key_that_is_revoked_ends_its_answers(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.reader_check.RECHECK_S", 0.05)
    made = ok(admin.post("/api/v1/keys", {"name": "mine"}), 201)
    principal = services(app).api_keys.checker.authenticate(made["key"], "127.0.0.1")
    completion = begin(app, admin, told(**SLOW), principal=principal)
    deltas = completion.deltas()
    next(deltas)

    ok(admin.delete(f"/api/v1/keys/{made['id']}"))
    with pytest.raises(NotAuthenticated) as refusal:
        list(deltas)

    assert refusal.value.error_code == "key_revoked"
    assert provider.wait_closed(provider.last()["id"])["end"] == "client_closed"
    (row,) = entries(app)
    assert (row.state, row.source, row.end_reason) == ("settled", "partial", "user_stop")


def test_a_failure_is_raised_and_noted(app: OpenAPI, admin: Actor) -> None:
    completion = begin(app, admin, told(text="It ends in the midst of", fault="no_finish"))

    with pytest.raises(ProviderError):
        said(completion)
    assert {row.state for row in entries(app)} == {"settled"}
    assert {row.error_code for row in entries(app)} == {"upstream_cut"}


def test_an_unknown_model_and_a_spent_budget_are_refused_before_anything_is_sent(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    with pytest.raises(NotFound, match="no-such") as unknown:
        begin(app, admin, "hello", model="no-such")
    assert unknown.value.error_code == "model_not_found"

    ok(admin.put(f"/api/v1/users/{admin.id}/budgets", {"total": {"requests": 1}}))
    said(begin(app, admin, "hello"))
    with pytest.raises(BudgetExceeded):
        begin(app, admin, "hello")
    assert len(provider.log()) == len(entries(app)) == 1


def test_a_drain_lets_answers_end_and_takes_no_new_ones(app: OpenAPI, admin: Actor) -> None:
    completion = begin(app, admin, told(words=30, pace_ms=5))
    (first,) = one_by_one([next(completion.deltas())])
    drain = threading.Thread(target=services(app).desk.drain, args=(30,))
    drain.start()

    assert isinstance(first, TextDelta)
    rest = said(completion)
    drain.join()

    assert completion.tally.text == first.text + rest
    assert [row.end_reason for row in entries(app)] == ["stop"]
    with pytest.raises(Unavailable):
        begin(app, admin, "hello")


def test_a_drain_cuts_short_what_takes_too_long(app: OpenAPI, admin: Actor) -> None:
    completion = begin(app, admin, told(**SLOW))
    next(completion.deltas())
    drain = threading.Thread(target=services(app).desk.drain, args=(0,))
    drain.start()

    with pytest.raises(Unavailable) as cut:
        said(completion)
    drain.join()

    assert cut.value.error_code == "shutting_down"
    (row,) = entries(app)
    assert (row.state, row.source, row.end_reason) == ("settled", "partial", "shutdown")


def test_what_nobody_reads_is_settled_once(app: OpenAPI, admin: Actor) -> None:
    completion = begin(app, admin, told(**SLOW))
    next(completion.deltas())

    completion.settle(EndReason.SHUTDOWN)
    completion.close()

    (row,) = entries(app)
    assert (row.state, row.end_reason) == ("settled", "shutdown")


def test_an_end_waits_for_a_database_that_is_away(app: OpenAPI, admin: Actor) -> None:
    completion = begin(app, admin, told(text="Kept.", usage=USED))
    rename(app, "ledger", "away")
    assert said(completion) == "Kept."
    assert services(app).desk.count() == 0

    rename(app, "away", "ledger")

    (row,) = eventually(lambda: [row for row in entries(app) if row.state == EntryState.SETTLED])
    assert tokens(row) == (11, 7)


def rename(app: OpenAPI, table: str, name: str) -> None:
    with app.app_context():
        db.session.execute(sa.text(f"ALTER TABLE {table} RENAME TO {name}"))
        db.session.commit()
