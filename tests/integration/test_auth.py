"""Signing in, staying signed in, signing out."""

import json
from pathlib import Path
from typing import Any

import argon2
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from models import UserEntity, db
from tests.actors import PASSWORD, Actor, add_user, ok, refused, set_up, sign_in
from tests.conftest import AppFactory
from tests.races import at_once

WRONG = "wrong horse battery"


def _login(client: FlaskClient, username: str, password: str = PASSWORD) -> TestResponse:
    return client.post("/api/v1/auth/login", json={"username": username, "password": password})


def _refresh(client: FlaskClient, token: str) -> TestResponse:
    return client.post("/api/v1/auth/refresh", json={"refresh_token": token})


def _works(actor: Actor) -> bool:
    return actor.get("/api/v1/auth/me").status_code == 200


def _again(actor: Actor) -> Actor:
    """The same person with fresh tokens."""
    return Actor(actor.client.application, ok(_refresh(actor.client, actor.tokens["refresh_token"])))  # type: ignore[arg-type]


def test_login_answers_with_tokens_and_the_user(client: FlaskClient, user: Actor) -> None:
    data = ok(_login(client, "grace"))

    assert set(data) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (data["token_type"], data["expires_in"]) == ("Bearer", 900)
    assert data["user"] == user.user
    assert set(data["user"]) == {"id", "username", "email", "role", "is_active", "created_at", "updated_at"}


@pytest.mark.usefixtures("every_database")
@pytest.mark.parametrize("name", ["grace", " GRACE ", "ｇrace", "grace@example.org", "Grace@EXAMPLE.org"])
def test_the_name_and_the_address_sign_in(app: OpenAPI, client: FlaskClient, admin: Actor, name: str) -> None:
    add_user(admin, app, "grace", email="grace@example.org")

    assert ok(_login(client, name))["user"]["username"] == "grace"


def test_nothing_tells_a_wrong_password_from_an_unknown_user(client: FlaskClient, admin: Actor, user: Actor) -> None:
    admin.ok(admin.patch(f"/api/v1/users/{user.id}", {"is_active": False}))
    answers = [_login(client, "ada", WRONG), _login(client, "nobody", WRONG), _login(client, "grace", PASSWORD)]
    bodies = [refused(answer, 401, "invalid_credentials") for answer in answers]

    assert len({body["error"] for body in bodies}) == 1
    assert len({tuple(sorted(set(answer.headers.keys()))) for answer in answers}) == 1


def test_without_a_token_nobody_is_let_in(client: FlaskClient, user: Actor) -> None:
    refused(client.get("/api/v1/auth/me"), 401, "not_authenticated")
    refused(client.post("/api/v1/auth/logout"), 401, "not_authenticated")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer ü", "token"])
def test_a_broken_header_is_refused(client: FlaskClient, header: str) -> None:
    answer = client.get("/api/v1/auth/me", headers={"Authorization": header})

    assert answer.status_code == 401


def test_the_scheme_is_read_in_any_case(user: Actor) -> None:
    user.ok(user.get("/api/v1/auth/me", headers={"Authorization": f"bearer {user.tokens['access_token']}"}))


def test_a_refreshed_sign_in_goes_on(user: Actor) -> None:
    fresh = _again(_again(user))

    assert fresh.tokens["refresh_token"] != user.tokens["refresh_token"]
    assert _works(fresh)
    assert _works(user)  # the older access token of the same sign-in lives until it expires


def test_an_older_refresh_token_ends_the_sign_in_with_its_newest_tokens(user: Actor) -> None:
    fresh = _again(user)

    refused(_refresh(user.client, user.tokens["refresh_token"]), 401, "invalid_token")

    refused(_refresh(user.client, fresh.tokens["refresh_token"]), 401, "invalid_token")
    assert not _works(fresh)


def test_a_copied_token_ends_one_sign_in_only(app: OpenAPI, user: Actor) -> None:
    phone = sign_in(app, "grace")
    _again(user)
    _refresh(user.client, user.tokens["refresh_token"])

    assert _works(phone)


@pytest.mark.usefixtures("every_database")
def test_of_many_refreshes_at_once_exactly_one_wins(app: OpenAPI, user: Actor) -> None:
    token = user.tokens["refresh_token"]

    answers = at_once(*[lambda: _refresh(app.test_client(), token)] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


@pytest.mark.usefixtures("every_database")
def test_a_sign_in_ends_when_its_time_is_over_however_often_it_was_refreshed(make_app: AppFactory) -> None:
    app = make_app(REFRESH_TOKEN_TTL_S=60)
    user = set_up(app)
    assert user.tokens["expires_in"] <= 60
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE sign_ins SET expires_at = '2020-01-01 00:00:00'"))

    assert not _works(user)
    refused(_refresh(user.client, user.tokens["refresh_token"]), 401, "invalid_token")


def test_logout_ends_both_tokens_of_this_sign_in_only(app: OpenAPI, user: Actor) -> None:
    phone = sign_in(app, "grace")

    assert user.ok(user.post("/api/v1/auth/logout")) == {}

    refused(user.get("/api/v1/auth/me"), 401, "invalid_token")
    refused(_refresh(user.client, user.tokens["refresh_token"]), 401, "invalid_token")
    assert _works(phone)


def test_a_new_password_keeps_this_sign_in_and_ends_the_others(app: OpenAPI, client: FlaskClient, user: Actor) -> None:
    phone = sign_in(app, "grace")
    change = {"current_password": PASSWORD, "new_password": "another fine day"}

    user.ok(user.put("/api/v1/auth/password", change))

    assert _works(_again(user))
    assert not _works(phone)
    refused(_refresh(client, phone.tokens["refresh_token"]), 401, "invalid_token")
    refused(_login(client, "grace"), 401, "invalid_credentials")
    sign_in(app, "grace", "another fine day")


def test_the_password_is_changed_by_who_knows_it_only(user: Actor) -> None:
    change = {"current_password": WRONG, "new_password": "another fine day"}
    refused(user.put("/api/v1/auth/password", change), 403, "wrong_password")

    weak = {"current_password": PASSWORD, "new_password": "password1"}
    refused(user.put("/api/v1/auth/password", weak), 422, "weak_password")

    for _ in range(4):
        user.put("/api/v1/auth/password", change)
    refused(user.put("/api/v1/auth/password", change), 429, "too_many_attempts")
    assert _works(user)


def test_a_hash_of_old_parameters_is_renewed_at_login(app: OpenAPI, client: FlaskClient, user: Actor) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.update(UserEntity).where(UserEntity.id == user.id).values(password_hash=old))

    ok(_login(client, "grace"))

    with app.app_context(), db.engine.connect() as connection:
        kept = connection.scalar(sa.select(UserEntity.password_hash).where(UserEntity.id == user.id))
    assert "m=19456,t=2" in str(kept)
    ok(_login(client, "grace"))


def test_the_database_holds_no_usable_secret(app: OpenAPI, user: Actor) -> None:
    with app.app_context(), db.engine.connect() as connection:
        dump = "".join(
            str(row) for table in db.metadata.sorted_tables for row in connection.execute(sa.select(table)).all()
        )

    secrets = [PASSWORD, user.tokens["refresh_token"], user.tokens["access_token"], _claims(user)["rot"]]
    assert not [secret for secret in secrets if secret in dump]


def _claims(actor: Actor) -> dict[str, Any]:
    from flask_jwt_extended import decode_token

    with actor.client.application.app_context():
        claims: dict[str, Any] = decode_token(actor.tokens["refresh_token"])
        return claims


def test_security_events_are_logged_without_secrets(make_app: AppFactory, tmp_path: Path) -> None:
    app = make_app(LOG_FILE=str(tmp_path / "log"), REGISTRATION="open")
    admin = set_up(app)
    client = app.test_client()
    user = Actor(app, ok(client.post("/api/v1/auth/register", json={"username": "grace", "password": PASSWORD}), 201))
    for _ in range(6):
        _login(client, "canary-name", WRONG)
    _again(user)
    _refresh(client, user.tokens["refresh_token"])
    admin.put("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": "another fine day"})
    admin.ok(admin.patch(f"/api/v1/users/{user.id}", {"is_active": False}))
    admin.ok(admin.delete(f"/api/v1/users/{user.id}"))

    text = (tmp_path / "log").read_text()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    expected = {
        "setup_completed", "user_registered", "login_failed", "login_throttled", "refresh_reused",
        "password_changed", "user_disabled", "user_deleted",
    }  # fmt: skip
    assert expected <= set(events)
    assert (events.count("login_failed"), events.count("login_throttled")) == (5, 1)
    secrets = [PASSWORD, WRONG, "another fine day", "canary-name", app.extensions["unichat"].setup.setup_token]
    secrets += [admin.tokens["access_token"], user.tokens["refresh_token"], _claims(user)["rot"]]
    assert not [secret for secret in secrets if secret in text]
