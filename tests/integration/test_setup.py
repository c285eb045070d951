"""The first start: exactly one first administrator, made once for ever."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from config import ConfigurationError
from services.setup_service import SetupService
from tests.actors import PASSWORD, Actor, ok, refused, set_up, sign_in
from tests.conftest import AppFactory
from tests.races import at_once


@pytest.fixture
def setup(app: OpenAPI) -> SetupService:
    service: SetupService = app.extensions["unichat"].setup
    return service


def _complete(app: OpenAPI, token: str, username: str = "ada", **fields: Any) -> TestResponse:
    body = {"token": token, "username": username, "password": PASSWORD} | fields
    return app.test_client().post("/api/v1/setup", json=body)


def test_a_new_installation_says_that_it_must_be_set_up(client: FlaskClient) -> None:
    assert ok(client.get("/api/v1/setup")) == {"initialized": False}


def test_the_setup_makes_an_administrator_who_is_signed_in(app: OpenAPI, setup: SetupService) -> None:
    tokens = ok(_complete(app, setup.setup_token, email="ada@example.org"), 201)

    admin = Actor(app, tokens)
    assert tokens["token_type"] == "Bearer"
    assert (admin.user["role"], admin.user["email"]) == ("ADMIN", "ada@example.org")
    assert admin.ok(admin.get("/api/v1/auth/me")) == admin.user
    assert ok(admin.client.get("/api/v1/setup")) == {"initialized": True}


@pytest.mark.usefixtures("every_database")
def test_the_setup_is_closed_for_ever_after_it(app: OpenAPI, setup: SetupService, admin: Actor) -> None:
    refused(_complete(app, setup.setup_token, "eve"), 409, "setup_closed")
    refused(_complete(app, "wrong", "eve"), 409, "setup_closed")
    assert len(admin.ok(admin.get("/api/v1/users"))["items"]) == 1


@pytest.mark.parametrize("token", ["", "wrong", "é" * 32, "A" * 32])
def test_a_wrong_token_is_refused_and_makes_nobody(app: OpenAPI, setup: SetupService, token: str) -> None:
    refused(_complete(app, token), 403, "invalid_setup_token")
    assert setup.is_open()


def test_a_part_of_the_token_is_not_enough(app: OpenAPI, setup: SetupService) -> None:
    refused(_complete(app, setup.setup_token[:-1]), 403, "invalid_setup_token")


def test_the_token_may_be_copied_with_spaces_around_it_and_in_lower_case(app: OpenAPI, setup: SetupService) -> None:
    ok(_complete(app, f" {setup.setup_token.lower()}\n"), 201)


def test_every_node_has_the_same_long_token(app: OpenAPI, make_app: AppFactory, setup: SetupService) -> None:
    other_node = make_app()

    assert other_node.extensions["unichat"].setup.setup_token == setup.setup_token
    assert len(setup.setup_token) >= 26


def test_another_installation_has_another_token(make_app: AppFactory, tmp_path: Path, setup: SetupService) -> None:
    other = make_app(DATA_DIR=tmp_path / "other")

    assert other.extensions["unichat"].setup.setup_token != setup.setup_token


def test_a_weak_password_or_name_is_refused_and_the_setup_stays_open(app: OpenAPI, setup: SetupService) -> None:
    refused(_complete(app, setup.setup_token, password="password1"), 422, "weak_password")
    refused(_complete(app, setup.setup_token, "\x1b"), 422, "invalid_username")
    refused(_complete(app, setup.setup_token, email="nobody"), 422, "invalid_email")
    assert setup.is_open()


@pytest.mark.usefixtures("every_database")
def test_two_racing_setups_make_exactly_one_administrator(
    app: OpenAPI, make_app: AppFactory, setup: SetupService
) -> None:
    nodes = [(app, "ada"), (make_app(), "grace"), (app, "ada"), (make_app(), "linus")]

    answers = at_once(*[lambda node=node, name=name: _complete(node, setup.setup_token, name) for node, name in nodes])

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {a.get_json()["code"] for a in answers if a.status_code == 409} == {"setup_closed"}
    winner = Actor(app, next(a.get_json()["data"] for a in answers if a.status_code == 201))
    assert [u["id"] for u in winner.ok(winner.get("/api/v1/users"))["items"]] == [winner.id]


def test_the_administrator_of_the_environment_is_there_at_start(make_app: AppFactory) -> None:
    app = make_app(ADMIN_USERNAME="root", ADMIN_PASSWORD=PASSWORD)

    assert not app.extensions["unichat"].setup.is_open()
    assert sign_in(app, "root").user["role"] == "ADMIN"


def test_starting_again_changes_nothing(make_app: AppFactory) -> None:
    admin = sign_in(make_app(ADMIN_USERNAME="root", ADMIN_PASSWORD=PASSWORD), "root")
    change = {"current_password": PASSWORD, "new_password": "another fine day"}
    admin.ok(admin.put("/api/v1/auth/password", change))

    again = make_app(ADMIN_USERNAME="root", ADMIN_PASSWORD=PASSWORD)

    sign_in(again, "root", "another fine day")
    body = {"username": "root", "password": PASSWORD}
    refused(again.test_client().post("/api/v1/auth/login", json=body), 401, "invalid_credentials")


def test_the_environment_makes_no_second_administrator(make_app: AppFactory) -> None:
    admin = set_up(make_app())

    make_app(ADMIN_USERNAME="root", ADMIN_PASSWORD=PASSWORD)

    assert [u["username"] for u in admin.ok(admin.get("/api/v1/users"))["items"]] == ["ada"]


@pytest.mark.usefixtures("every_database")
def test_nodes_that_start_together_make_one_administrator(app: OpenAPI, make_app: AppFactory) -> None:
    setups = [app.extensions["unichat"].setup, *(make_app().extensions["unichat"].setup for _ in range(3))]

    at_once(*[lambda service=service: service.ensure_admin("root", PASSWORD) for service in setups])

    admin = sign_in(app, "root")
    assert len(admin.ok(admin.get("/api/v1/users"))["items"]) == 1


@pytest.mark.parametrize(("username", "password"), [("root", "password1"), ("root", "short"), ("\x1b", PASSWORD)])
def test_an_unusable_administrator_stops_the_start_with_a_clear_error(
    make_app: AppFactory, username: str, password: str
) -> None:
    with pytest.raises(ConfigurationError, match="ADMIN_USERNAME and ADMIN_PASSWORD cannot be used") as caught:
        make_app(ADMIN_USERNAME=username, ADMIN_PASSWORD=password)

    assert password not in str(caught.value)
