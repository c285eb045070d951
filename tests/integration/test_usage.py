"""Reports of what was used, from the ledger."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.clock import now
from models import LedgerEntity, db
from tests.actors import Actor, add_user, ok, refused
from tests.books import entries
from tests.chats import begin, chat, entry, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "100000 per minute", "RATE_LIMIT_CHAT": "100000 per minute"}
USED = {"prompt_tokens": 11, "completion_tokens": 7}
pytestmark = pytest.mark.usefixtures("every_database")


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS)


def report(actor: Actor, query: str = "") -> dict[str, Any]:
    return dict(ok(actor.get(f"/api/v1/usage?{query}")))


def test_what_is_used_is_added_up(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    ok(admin.put("/api/v1/prices", {"provider": "openai", "model": "sees", "input": 1, "output": 2}))
    provider.script(
        {"status": 500}, {"words": 5, "usage": USED}, {"words": 5, "usage": USED}, {"words": 5, "usage": USED}
    )
    chat(admin, "one")
    chat(admin, "two")
    chat(admin, "three", model="blind")
    begin(admin, told(words=5, first_token_ms=60_000))  # what is not settled does not count

    used = report(admin, "group_by=model")

    assert [(item["provider"], item["model"], item["turns"]) for item in used["items"]] == [
        ("openai", "blind", 1),
        ("openai", "sees", 2),
    ]
    assert used["items"][1] == {
        "day": None,
        "provider": "openai",
        "model": "sees",
        "user_id": None,
        "key_id": None,
        "turns": 2,
        "requests": 2,
        "unpriced": 0,
        "prompt_tokens": 22,
        "cached_tokens": 0,
        "completion_tokens": 14,
        "reasoning_tokens": 0,
        "total_tokens": 36,
        "cost_usd": "0.00005",
    }
    assert (used["items"][0]["unpriced"], used["items"][0]["cost_usd"]) == (1, "0")
    total = used["total"]
    assert (total["turns"], total["total_tokens"], total["cost_usd"], total["model"]) == (3, 54, "0.00005", None)
    assert used["truncated"] is False


def test_days_are_told_apart_and_bounded(app: OpenAPI, admin: Actor) -> None:
    for days in (0, 1, 1, 40):
        chat(admin, told(words=5, usage=USED))
        newest = entries(app)[-1]
        with app.app_context():
            moved = sa.update(LedgerEntity).where(LedgerEntity.id == newest.id)
            db.session.execute(moved.values(created_at=now() - timedelta(days=days)))
            db.session.commit()
    today = now().date()
    yesterday, long_ago = today - timedelta(days=1), today - timedelta(days=40)

    assert [(item["day"], item["turns"]) for item in report(admin)["items"]] == [(str(yesterday), 2), (str(today), 1)]
    assert report(admin, f"since={today}")["total"]["turns"] == 1
    assert report(admin, f"until={yesterday}")["total"]["turns"] == 2
    assert report(admin, f"since={long_ago}&until={long_ago}")["total"]["turns"] == 1
    assert report(admin, f"since={long_ago}&group_by=day,model")["items"][0]["model"] == "sees"
    assert report(admin, f"until={long_ago - timedelta(days=1)}")["total"]["total_tokens"] == 0


def test_what_is_used_by_an_api_key_is_told_apart(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")
    for user, key_id in ((admin, None), (admin, "key_1"), (admin, "key_1"), (admin, "key_2"), (grace, "key_3")):
        chat(user, told(words=5, usage=USED))
        newest = entries(app)[-1]
        with app.app_context():
            db.session.execute(sa.update(LedgerEntity).where(LedgerEntity.id == newest.id).values(key_id=key_id))
            db.session.commit()

    items = report(admin, "group_by=key")["items"]

    assert {item["key_id"]: item["turns"] for item in items} == {None: 1, "key_1": 2, "key_2": 1}
    assert report(admin, "key_id=key_1")["total"]["turns"] == 2
    assert report(admin, "key_id=key_3")["total"]["turns"] == 0
    assert report(admin, "key_id=key_3&everybody=true&group_by=key,user")["items"][0]["user_id"] == grace.id
    assert report(grace, "key_id=key_1&group_by=key")["items"] == []


def test_everybody_sees_their_own_and_administrators_all(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")
    chat(admin, told(words=5, usage=USED))
    for _ in range(2):
        chat(grace, told(words=5, usage=USED))

    assert report(grace)["total"]["turns"] == 2
    assert report(grace, f"user_id={grace.id}")["total"]["turns"] == 2
    assert report(admin)["total"]["turns"] == 1
    assert report(admin, f"user_id={grace.id}")["total"]["turns"] == 2
    all_of_it = report(admin, "everybody=true&group_by=user")
    assert {item["user_id"]: item["turns"] for item in all_of_it["items"]} == {admin.id: 1, grace.id: 2}
    assert all_of_it["budgets"] is None
    for query in ("everybody=true", f"user_id={admin.id}"):
        refused(grace.get(f"/api/v1/usage?{query}"), 403, "permission_denied")


def test_what_deleted_users_used_is_still_there(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")
    chat(grace, told(words=5, usage=USED))
    ok(admin.delete(f"/api/v1/users/{grace.id}"))

    assert report(admin, f"user_id={grace.id}")["total"]["total_tokens"] == 18


def test_users_see_how_their_budgets_stand(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")
    assert report(grace)["budgets"]["since"] is None
    ok(admin.put(f"/api/v1/users/{grace.id}/budgets", {"day": {"requests": 3}}))
    chat(grace, told(words=5, usage=USED))

    assert report(grace)["budgets"]["day"]["requests"] == {"limit": 3, "used": 1, "held": 0, "remaining": 2}


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "group_by=colour",
        "group_by=day,",
        "since=2026-02-02&until=2026-02-01",
        "since=2024-01-01&until=2025-01-01",
        "user_id=%00",
    ],
)
def test_wrong_questions_are_refused(admin: Actor, query: str) -> None:
    refused(admin.get(f"/api/v1/usage?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("query", ["until=0001-01-01", "since=9999-12-31&until=9999-12-31"])
def test_the_ends_of_time_are_no_trouble(admin: Actor, query: str) -> None:
    assert report(admin, query)["total"]["turns"] == 0
