"""Who may make an account, and how it is made."""

from typing import Any

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from config import ConfigurationError
from tests.actors import PASSWORD, Actor, add_user, ok, refused, set_up, sign_in
from tests.conftest import AppFactory
from tests.races import at_once


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    """An installation where anybody may register."""
    return make_app(REGISTRATION="open")


def _register(app: OpenAPI, username: str = "grace", **fields: Any) -> TestResponse:
    body = {"username": username, "password": PASSWORD} | fields
    return app.test_client().post("/api/v1/auth/register", json=body)


def test_who_registers_is_a_user_and_signed_in(app: OpenAPI, admin: Actor) -> None:
    grace = Actor(app, ok(_register(app, email="Grace@Example.org"), 201))

    me = grace.ok(grace.get("/api/v1/auth/me"))
    assert (me["username"], me["email"], me["role"], me["is_active"]) == ("grace", "grace@example.org", "USER", True)


def test_before_the_setup_nobody_can_register(app: OpenAPI) -> None:
    refused(_register(app), 409, "setup_required")


def test_a_closed_installation_is_closed(make_app: AppFactory) -> None:
    app = make_app(REGISTRATION="closed")
    admin = set_up(app)

    refused(_register(app), 403, "registration_closed")
    add_user(admin, app, "grace")


def test_closed_is_the_default(make_app: AppFactory) -> None:
    app = make_app()
    set_up(app)

    refused(_register(app), 403, "registration_closed")


def test_a_single_user_stays_alone(make_app: AppFactory) -> None:
    app = make_app(REGISTRATION="single")
    admin = set_up(app)

    refused(_register(app), 403, "single_user")
    body = {"username": "grace", "password": PASSWORD}
    refused(admin.post("/api/v1/users", body), 403, "single_user")
    assert sign_in(app, "ada").id == admin.id


def test_an_installation_with_several_users_does_not_start_for_a_single_one(app: OpenAPI, make_app: AppFactory) -> None:
    add_user(set_up(app), app, "grace")

    with pytest.raises(ConfigurationError, match="there are 2"):
        make_app(REGISTRATION="single")


def test_nobody_makes_themselves_an_administrator(app: OpenAPI, admin: Actor) -> None:
    extra: dict[str, Any] = {
        "role": "ADMIN",
        "is_active": False,
        "id": "usr_mine",
        "login_name": "ada",
        "password_hash": "x",
    }

    grace = Actor(app, ok(_register(app, **extra), 201))

    assert (grace.user["role"], grace.user["is_active"]) == ("USER", True)
    assert grace.id != "usr_mine"
    refused(grace.get("/api/v1/users"), 403, "permission_denied")


@pytest.mark.usefixtures("every_database")
@pytest.mark.parametrize("name", ["ada", "ADA", " Ａda "])
def test_a_taken_name_is_refused_however_it_is_written(app: OpenAPI, admin: Actor, name: str) -> None:
    refused(_register(app, name), 409, "username_taken")


@pytest.mark.usefixtures("every_database")
def test_names_that_differ_by_an_accent_are_two_people(app: OpenAPI, admin: Actor) -> None:
    jose, accented = (Actor(app, ok(_register(app, name), 201)) for name in ("jose", "josé"))

    assert sign_in(app, "josé").id == accented.id
    assert sign_in(app, "jose").id == jose.id


@pytest.mark.usefixtures("every_database")
def test_a_taken_address_is_refused(app: OpenAPI, admin: Actor) -> None:
    ok(_register(app, "grace", email="grace@example.org"), 201)

    refused(_register(app, "hopper", email="GRACE@example.org"), 409, "email_taken")


def test_nobody_takes_the_address_of_another_as_a_name(app: OpenAPI, admin: Actor) -> None:
    ok(_register(app, "grace", email="grace@example.org"), 201)

    refused(_register(app, "grace@example.org"), 409, "email_taken")
    refused(_register(app, "Grace@example.org", email="eve@example.org"), 422, "invalid_username")


@pytest.mark.usefixtures("every_database")
def test_several_users_need_no_address(app: OpenAPI, admin: Actor) -> None:
    ok(_register(app, "grace"), 201)
    ok(_register(app, "linus", email=""), 201)


@pytest.mark.usefixtures("every_database")
def test_of_many_who_register_one_name_at_once_one_gets_it(app: OpenAPI, admin: Actor) -> None:
    answers = at_once(*[lambda: _register(app)] * 4)

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {a.get_json()["code"] for a in answers if a.status_code == 409} == {"username_taken"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"password": "password1"}, "weak_password"),
        ({"password": "1234567"}, "weak_password"),
        ({"password": "grace and glory"}, "weak_password"),
        ({"password": "é" * 129}, "weak_password"),
        ({"password": "x" * 1001}, "invalid_request"),
        ({"password": None}, "invalid_request"),
        ({"username": "grace\nhopper"}, "invalid_username"),
        ({"username": ""}, "invalid_username"),
        ({"username": "g" * 65}, "invalid_username"),
        ({"username": "g\x00"}, "invalid_request"),
        ({"email": "nowhere"}, "invalid_email"),
    ],
)
def test_what_cannot_be_used_is_refused(app: OpenAPI, admin: Actor, fields: dict[str, Any], code: str) -> None:
    body = refused(_register(app, **fields), 422, code)

    assert body["fields"] == [next(iter(fields))]


def test_who_asks_for_taken_names_all_the_time_is_slowed_down(app: OpenAPI, admin: Actor) -> None:
    for _ in range(5):
        refused(_register(app, "ada"), 409, "username_taken")

    refused(_register(app, "ada"), 429, "too_many_attempts")


def test_registering_does_not_count_as_a_failure(app: OpenAPI, admin: Actor) -> None:
    for number in range(7):
        ok(_register(app, f"user{number}"), 201)
        refused(_register(app, f"user{number}x", password="password1"), 422, "weak_password")
