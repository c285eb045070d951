"""Single-use passes to a session's events, for clients that cannot send headers."""

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.errors import NotAuthenticated
from models import StreamTicketEntity, db
from services.auth_service import AuthService
from tests.actors import Actor, refused
from tests.races import at_once

TICKETS = "/api/v1/auth/tickets"


@pytest.fixture
def auth(app: OpenAPI) -> AuthService:
    service: AuthService = app.extensions["unichat"].auth
    return service


@pytest.fixture
def session_id(user: Actor) -> str:
    """A session of ``user``."""
    return str(user.ok(user.post("/api/v1/sessions", {}), 201)["id"])


def _ticket(actor: Actor, session_id: str) -> str:
    return str(actor.ok(actor.post(TICKETS, {"session_id": session_id}), 201)["ticket"])


def _counts(auth: AuthService, ticket: str, session_id: str) -> bool:
    try:
        auth.redeem_ticket(ticket, session_id)
    except NotAuthenticated:
        return False
    return True


def test_a_ticket_tells_who_was_given_it(auth: AuthService, user: Actor, session_id: str) -> None:
    made = user.ok(user.post(TICKETS, {"sessionId": session_id}), 201)

    assert made["expires_in"] == 60
    principal = auth.redeem_ticket(made["ticket"], session_id)
    assert (principal.user_id, principal.username, principal.role) == (user.id, "grace", "USER")


@pytest.mark.usefixtures("every_database")
def test_a_ticket_counts_once(auth: AuthService, user: Actor, session_id: str) -> None:
    ticket = _ticket(user, session_id)

    assert [_counts(auth, ticket, session_id) for _ in range(3)] == [True, False, False]


@pytest.mark.usefixtures("every_database")
def test_of_many_who_use_a_ticket_at_once_one_is_let_in(auth: AuthService, user: Actor, session_id: str) -> None:
    ticket = _ticket(user, session_id)

    assert sum(at_once(*[lambda: _counts(auth, ticket, session_id)] * 4)) == 1


def test_a_ticket_opens_its_own_session_only(auth: AuthService, user: Actor, session_id: str) -> None:
    ticket = _ticket(user, session_id)

    assert not _counts(auth, ticket, "sess_other")
    assert not _counts(auth, "made-up", session_id)
    assert _counts(auth, ticket, session_id)


def test_nobody_gets_a_ticket_for_the_session_of_another(other_user: Actor, session_id: str) -> None:
    refused(other_user.post(TICKETS, {"session_id": session_id}), 404, "session_not_found")
    refused(other_user.post(TICKETS, {"session_id": "sess_nowhere"}), 404, "session_not_found")
    refused(other_user.client.post(TICKETS, json={"session_id": session_id}), 401, "not_authenticated")


@pytest.mark.parametrize("end", ["logout", "disable", "password"])
def test_a_ticket_ends_with_its_sign_in(
    auth: AuthService, admin: Actor, user: Actor, session_id: str, end: str
) -> None:
    ticket = _ticket(user, session_id)
    match end:
        case "logout":
            user.ok(user.post("/api/v1/auth/logout"))
        case "disable":
            admin.ok(admin.patch(f"/api/v1/users/{user.id}", {"is_active": False}))
        case _:
            admin.ok(admin.patch(f"/api/v1/users/{user.id}", {"password": "another fine day"}))

    assert not _counts(auth, ticket, session_id)


@pytest.mark.usefixtures("every_database")
def test_a_ticket_that_expired_counts_no_more_and_is_cleaned_up(
    app: OpenAPI, auth: AuthService, user: Actor, session_id: str
) -> None:
    ticket = _ticket(user, session_id)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE stream_tickets SET expires_at = '2020-01-01 00:00:00'"))

    assert not _counts(auth, ticket, session_id)
    _ticket(user, session_id)
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(StreamTicketEntity)) == 1


def test_the_database_holds_no_usable_ticket(app: OpenAPI, user: Actor, session_id: str) -> None:
    ticket = _ticket(user, session_id)

    with app.app_context(), db.engine.connect() as connection:
        assert ticket not in str(connection.execute(sa.select(StreamTicketEntity.__table__)).all())
