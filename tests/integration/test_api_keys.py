"""API keys: made once, shown once, changed, revoked; what they open, and for whom."""

import hashlib
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from api.declarations import scope_of
from domain.api_keys import Scope
from domain.key_format import new_key
from tests.actors import Actor, refused, sign_in
from tests.conftest import AppFactory
from tests.routes import routes

ALL = [scope.value for scope in Scope]
ME = "/api/v1/auth/me"
EXCEEDS = "exceeds_own_key"


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    return make_app(RATE_LIMIT="100000 per minute", RATE_LIMIT_CHAT="100000 per minute")


class KeyCaller:
    """A program with a key."""

    def __init__(self, app: OpenAPI, made: dict[str, Any]) -> None:
        self._client: FlaskClient = app.test_client()
        self.id: str = made["id"]
        self.key: str = made["key"]

    def call(self, method: str, path: str, json: Any = None, address: str = "127.0.0.1") -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}"}
        return self._client.open(
            path, method=method, headers=headers, json=json, environ_overrides={"REMOTE_ADDR": address}
        )


def make(actor: Actor, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = Actor.ok(actor.post("/api/v1/keys", {"name": "a program"} | fields), 201)
    return made


def caller(app: OpenAPI, actor: Actor, **fields: Any) -> KeyCaller:
    return KeyCaller(app, make(actor, **fields))


@pytest.mark.usefixtures("every_database")
def test_a_key_is_made_used_changed_and_revoked(app: OpenAPI, user: Actor) -> None:
    fields = {
        "models": ["echo"], "addresses": ["127.0.0.1", "2001:db8::/32"], "requests_per_minute": 5,
        "tokens_per_minute": 100, "parallel_requests": 2, "expires_at": "2090-01-01T00:00:00Z",
    }  # fmt: skip
    made = make(user, **fields)
    key = made.pop("key")

    assert {name: made[name] for name in fields} == fields | {"addresses": ["127.0.0.1/32", "2001:db8::/32"]}
    assert made["scopes"] == ["chat", "gateway", "read"]
    assert key.startswith(made["prefix"])
    assert (made["user_id"], made["created_by"], made["disabled"], made["last_used_at"]) == (
        user.id, user.id, False, None,
    )  # fmt: skip
    program = KeyCaller(app, made | {"key": key})
    assert Actor.ok(program.call("GET", ME)) == user.user

    path = f"/api/v1/keys/{made['id']}"
    changed = Actor.ok(user.patch(path, {"name": " renamed ", "models": None, "expires_at": None}))
    assert (changed["name"], changed["models"], changed["expires_at"]) == ("renamed", None, None)
    assert changed["requests_per_minute"] == 5
    assert Actor.ok(user.get(path)) == changed

    Actor.ok(user.delete(path))
    refused(program.call("GET", ME), 401, "key_revoked")
    refused(user.get(path), 404, "key_not_found")
    refused(user.delete(path), 404, "key_not_found")
    assert Actor.ok(user.get("/api/v1/keys"))["items"] == []


def test_keys_are_listed_newest_first_by_pages(user: Actor) -> None:
    made = [make(user, name=f"key {number}")["id"] for number in range(5)]

    pages, cursor = [], None
    while True:
        options = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = Actor.ok(user.get("/api/v1/keys", query_string=options))
        pages += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == made[::-1]
    assert all("key" not in item and "key_hash" not in item for item in page["items"])


def test_both_headers_take_a_key_and_the_usual_one_comes_first(app: OpenAPI, user: Actor, admin: Actor) -> None:
    own, other = make(user)["key"], make(admin)["key"]
    client = app.test_client()

    def name(**headers: str) -> str:
        options = {header.replace("_", "-"): value for header, value in headers.items()}
        return str(Actor.ok(client.get(ME, headers=options))["username"])

    assert name(x_api_key=own) == "grace"
    assert name(Authorization=f"bearer  {own} ") == "grace"
    assert name(Authorization=f"Bearer {own}", x_api_key=other) == "grace"
    assert name(Authorization=f"Bearer {user.tokens['access_token']}", x_api_key=other) == "grace"


def _wrong(key: str) -> dict[str, str]:
    swapped = key[:20] + ("a" if key[20] != "a" else "b") + key[21:]
    return {
        "of nobody": new_key(),
        "mistyped": swapped,
        "cut": key[:-1],
        "longer": f"{key}x",
        "in capitals": key[:5] + key[5:].upper(),
        "of another service": "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
        "nothing": "sk-",
    }


def test_a_key_that_is_not_ours_is_refused(app: OpenAPI, user: Actor) -> None:
    client = app.test_client()
    for what, key in _wrong(make(user)["key"]).items():
        for header in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
            answer = client.get(ME, headers=header)
            told = refused(answer, 401, "invalid_api_key")
            assert answer.headers["WWW-Authenticate"] == "Bearer", what
            assert key not in answer.get_data(as_text=True) or key == "sk-", told


def test_what_ends_a_key(app: OpenAPI, admin: Actor, user: Actor) -> None:
    program = caller(app, user)
    path = f"/api/v1/keys/{program.id}"
    assert program.call("GET", ME).status_code == 200

    Actor.ok(user.patch(path, {"disabled": True}))
    refused(program.call("GET", ME), 401, "key_disabled")
    Actor.ok(user.patch(path, {"disabled": False, "addresses": ["10.0.0.0/8", "2001:db8::/64"]}))
    refused(program.call("GET", ME), 403, "key_address_not_allowed")
    for address in ("10.1.2.3", "2001:db8::77", "::ffff:10.1.2.3"):
        assert program.call("GET", ME, address=address).status_code == 200, address
    Actor.ok(user.patch(path, {"addresses": None}))
    assert program.call("GET", ME).status_code == 200

    Actor.ok(admin.patch(f"/api/v1/users/{user.id}", {"is_active": False}))
    refused(program.call("GET", ME), 401, "user_disabled")
    Actor.ok(admin.patch(f"/api/v1/users/{user.id}", {"is_active": True}))
    assert program.call("GET", ME).status_code == 200
    Actor.ok(admin.delete(f"/api/v1/users/{user.id}"))
    refused(program.call("GET", ME), 401, "invalid_api_key")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"expires_at": "2090-01-01T00:00:00"}, "expires_at"),
        ({"addresses": ["10.0.0.0/33"]}, "addresses"),
        ({"addresses": ["localhost"]}, "addresses"),
        ({"addresses": ["::ffff:10.0.0.0/104"]}, "addresses"),
        ({"addresses": []}, "addresses"),
        ({"models": []}, "models"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"name": "  "}, "name"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"request_per_minute": 1}, "request_per_minute"),
    ],
)
def test_what_a_key_cannot_be(user: Actor, fields: dict[str, Any], wrong: str) -> None:
    told = refused(user.post("/api/v1/keys", {"name": "x"} | fields), 422, "invalid_request")

    assert told["fields"] == [wrong]
    assert Actor.ok(user.get("/api/v1/keys"))["items"] == []


def test_a_key_expires_to_the_moment_though_it_is_remembered(app: OpenAPI, user: Actor) -> None:
    program = caller(app, user, expires_at=(datetime.now(UTC) + timedelta(seconds=1)).isoformat())

    give_up = datetime.now(UTC) + timedelta(seconds=30)
    while (answer := program.call("GET", ME)).status_code == 200:
        assert datetime.now(UTC) < give_up
        time.sleep(0.05)
    refused(answer, 401, "key_expired")


def test_every_route_takes_keys_with_its_scope_and_no_others(app: OpenAPI, admin: Actor) -> None:
    closed = [
        route
        for route in routes(app)
        if not getattr(route.view, "is_public", False) and not getattr(route.view, "is_for_metrics", False)
    ]
    everything = {scope: caller(app, admin, scopes=[scope]) for scope in ALL}
    needed = {str(route): scope_of(route.view, route.path) for route in closed}

    for route in closed:
        for scope, program in everything.items():
            answer = program.call(route.method, route.path_for("x"), {} if route.takes_body else None)
            answer.close()
            lacks = answer.status_code == 403 and answer.get_json()["code"] == "scope_missing"
            assert lacks == (needed[str(route)] not in (None, scope)), (str(route), scope)
    assert {name for name, scope in needed.items() if scope is None} == {"GET /api/v1/auth/me"}
    assert {needed[name] for name in needed if name.partition(" ")[2].startswith("/v1/")} <= {Scope.GATEWAY}
    assert needed["POST /api/v1/chat"] is Scope.CHAT
    assert needed["GET /api/v1/usage"] is Scope.READ
    assert needed["POST /api/v1/users"] is needed["POST /api/v1/keys"] is Scope.MANAGE


def test_an_administrators_key_administers_only_if_it_may_manage(app: OpenAPI, admin: Actor, user: Actor) -> None:
    managing, other = caller(app, admin, scopes=ALL), caller(app, admin)

    assert managing.call("GET", "/api/v1/users").status_code == 200
    refused(other.call("GET", "/api/v1/users"), 403, "scope_missing")
    refused(other.call("GET", f"/api/v1/usage?user_id={user.id}"), 403, "permission_denied")
    refused(caller(app, user, scopes=ALL).call("GET", "/api/v1/users"), 403, "permission_denied")


def test_a_role_that_changes_changes_what_the_keys_may(app: OpenAPI, admin: Actor, user: Actor) -> None:
    Actor.ok(admin.patch(f"/api/v1/users/{user.id}", {"role": "ADMIN"}))
    program = caller(app, user, scopes=ALL)
    assert program.call("GET", "/api/v1/users").status_code == 200

    Actor.ok(admin.patch(f"/api/v1/users/{user.id}", {"role": "USER"}))

    refused(program.call("GET", "/api/v1/users"), 403, "permission_denied")


def test_administrators_manage_everybodys_keys(app: OpenAPI, admin: Actor, user: Actor, other_user: Actor) -> None:
    theirs, own = make(user), make(admin, user_id=user.id)
    assert (own["user_id"], own["created_by"]) == (user.id, admin.id)
    assert Actor.ok(KeyCaller(app, own).call("GET", ME))["id"] == user.id
    make(other_user)

    def listed(actor: Actor, **query: Any) -> set[str]:
        return {item["user_id"] for item in Actor.ok(actor.get("/api/v1/keys", query_string=query))["items"]}

    assert listed(admin, user_id=user.id) == {user.id}
    assert listed(admin, all="true") == {admin.id, user.id, other_user.id}
    assert listed(admin) == {admin.id}  # the first key
    path = f"/api/v1/keys/{theirs['id']}"
    assert Actor.ok(admin.patch(path, {"disabled": True}))["disabled"]
    assert Actor.ok(admin.get(path))["disabled"]
    Actor.ok(admin.delete(path))

    refused(admin.post("/api/v1/keys", {"name": "x", "user_id": "usr_nobody"}), 404, "user_not_found")
    refused(user.post("/api/v1/keys", {"name": "x", "user_id": other_user.id}), 403, "permission_denied")
    for query in ({"all": "true"}, {"user_id": other_user.id}):
        refused(user.get("/api/v1/keys", query_string=query), 403, "permission_denied")


def test_a_key_makes_none_that_may_do_more_than_itself(app: OpenAPI, user: Actor) -> None:
    until = "2090-01-01T00:00:00Z"
    mine = {"scopes": ["manage", "chat"], "models": ["a", "b"], "addresses": ["127.0.0.0/8"], "expires_at": until}
    program = caller(app, user, **mine)
    within = {"scopes": ["chat"], "models": ["b"], "addresses": ["127.0.0.1"], "expires_at": "2080-01-01T00:00:00Z"}
    beyond: dict[str, Any] = {
        "scopes": ["chat", "read"], "models": None, "addresses": ["126.0.0.0/7"], "expires_at": None,
    }  # fmt: skip
    made = Actor.ok(program.call("POST", "/api/v1/keys", {"name": "small"} | within), 201)

    for name, value in beyond.items():
        told = refused(program.call("POST", "/api/v1/keys", {"name": "x"} | within | {name: value}), 403, EXCEEDS)
        assert name in told["error"]
        for key_id in (made["id"], program.id):
            refused(program.call("PATCH", f"/api/v1/keys/{key_id}", {name: value}), 403, EXCEEDS)
    broad = make(user, scopes=ALL)["id"]
    Actor.ok(program.call("PATCH", f"/api/v1/keys/{broad}", {"disabled": True, "name": "switched off"}))
    refused(program.call("PATCH", f"/api/v1/keys/{broad}", {"disabled": False}), 403, EXCEEDS)
    refused(caller(app, user).call("POST", "/api/v1/keys", {"name": "x"} | within), 403, "scope_missing")
    limited = caller(app, user, scopes=ALL, requests_per_minute=5)
    told = refused(limited.call("POST", "/api/v1/keys", {"name": "x", "requests_per_minute": 5}), 403, EXCEEDS)
    assert "limits" in told["error"]
    refused(limited.call("PATCH", f"/api/v1/keys/{limited.id}", {"requests_per_minute": None}), 403, EXCEEDS)


def test_the_first_key_is_made_with_the_first_administrator(make_app: AppFactory) -> None:
    app = make_app()
    token = app.extensions["unichat"].setup.setup_token
    body = {"token": token, "username": "ada", "password": "correct horse battery"}
    answer = Actor.ok(app.test_client().post("/api/v1/setup", json=body), 201)

    program = KeyCaller(app, answer["api_key"])
    turn = Actor.ok(program.call("POST", "/api/v1/chat", {"message": "hello"}))
    assert turn["message"]["status"] == "completed"
    refused(program.call("GET", "/api/v1/users"), 403, "scope_missing")
    assert [item["id"] for item in Actor.ok(sign_in(app, "ada").get("/api/v1/keys"))["items"]] == [program.id]


def test_a_dump_of_the_database_holds_no_key(app: OpenAPI, user: Actor) -> None:
    keys = [make(user)["key"] for _ in range(3)]
    with closing(sqlite3.connect(app.config["SQLALCHEMY_DATABASE_URI"].partition("///")[2])) as database:
        dump = "\n".join(database.iterdump())

    for key in keys:
        assert key[:11] in dump
        assert key[11:20] not in dump
        stored = hashlib.sha256(key.encode()).hexdigest()
        assert stored in dump
        for text in (stored, f"sk-{stored}", f"sk-uc{stored[:46]}"):
            refused(app.test_client().get(ME, headers={"x-api-key": text}), 401, "invalid_api_key")


def test_a_key_does_not_sign_out(app: OpenAPI, user: Actor) -> None:
    refused(caller(app, user, scopes=ALL).call("POST", "/api/v1/auth/logout"), 403, "not_signed_in")
    assert user.get(ME).status_code == 200
