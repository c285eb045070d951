"""What lists cost does not grow with what is stored: they find their rows by an index, in the order that it has."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.clock import now
from domain.identifiers import new_id
from models import SessionEntity, db
from repositories.unit_of_work import UnitOfWork
from tests.actors import Actor, ok, set_up
from tests.chats import chat, entry, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Servers


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, AUTO_TITLE=False)


@contextmanager
def plans_of(app: OpenAPI) -> Iterator[list[str]]:
    """How SQLite goes about every query that is made in the block: the lines of its plans."""
    plans: list[str] = []

    def note(connection: sa.Connection, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if sql.startswith(("SELECT", "WITH")):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            plans.extend(f"{row[-1]} in {sql}" for row in rows)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def wasteful(plans: list[str]) -> list[str]:
    """Those that read a whole table, or sort what an index could have had in order."""
    starts = ("SCAN messages", "SCAN sessions", "SCAN ledger", "USE TEMP")
    # What sorts a few: the alternatives on one page, and generations of the very same moment.
    few = ("SELECT messages.parent_id, messages.id", "ORDER BY generations.created_at DESC")
    return [plan for plan in plans if plan.startswith(starts) and not any(one in plan for one in few)]


def test_lists_are_read_by_an_index_in_its_order(app: OpenAPI, admin: Actor) -> None:
    session_id = chat(admin, told(words=3))["session_id"]
    for _ in range(3):
        chat(admin, told(words=3))
        chat(admin, told(words=3), session_id)
    with plans_of(app) as plans:
        for path in ("/api/v1/sessions", f"/api/v1/sessions/{session_id}/messages", "/api/v1/users", "/api/v1/keys"):
            page = ok(admin.get(f"{path}?limit=1"))
            if page["next_cursor"]:
                ok(admin.get(f"{path}?limit=1&cursor={page['next_cursor']}"))
        ok(admin.get("/api/v1/keys?all=true"))
        ok(admin.get("/api/v1/sessions?q=word"))
        ok(admin.get(f"/api/v1/chat/usage?session_id={session_id}"))

    assert len(plans) > 10
    assert wasteful(plans) == []
    # A search looks at the messages of each session, not for each session at all messages of its owner.
    assert not [plan for plan in plans if "ix_messages_user_id" in plan]


def test_duties_look_at_what_they_are_for_alone(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=3))
    with plans_of(app) as plans:
        services(app).keeper.tick(all_duties=True)
        services(app).books.bookkeeper.add_up()

    assert len(plans) > 3
    assert wasteful(plans) == []


def test_a_deep_page_reads_no_more_than_the_first(make_app: AppFactory, servers: Servers) -> None:
    """MariaDB tells how many rows were read."""
    app = make_app(DATABASE_URL=servers.database("mariadb").migrated_database())
    user, pages, cursor = set_up(app).id, [], None
    with app.app_context():
        db.session.add_all(session_of(user, number) for number in range(1_000))
        db.session.commit()

    with services(app).sessions._unit_of_work(writes=False) as uow:
        while not pages or cursor:
            before = rows_read(uow)
            page = uow.sessions.page(user, limit=100, cursor=cursor, archived=False, text="")
            pages.append((rows_read(uow) - before, len(page.items)))
            cursor = page.next_cursor

    assert [found for _, found in pages] == [100] * 10
    assert max(read for read, _ in pages) < 150


def session_of(user: str, number: int) -> SessionEntity:
    moment = now() - timedelta(seconds=number // 2)  # always two of one moment
    return SessionEntity(
        id=new_id("sess"),
        user_id=user,
        title="one of many",
        title_source="words",
        system_prompt="",
        pinned=number < 3,
        archived=False,
        context_start=0,
        created_at=moment,
        updated_at=moment,
    )


def rows_read(uow: UnitOfWork) -> int:
    status = uow.sessions._session.connection().exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'").all()
    return sum(int(value) for name, value in status if name != "Handler_read_rnd_deleted")
