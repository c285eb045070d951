"""The shape of every route's answers: one envelope for successes, one for failures."""

from collections.abc import Callable
from typing import Any

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.actors import PASSWORD, Actor, add_user, set_up
from tests.conftest import AppFactory
from tests.listener import parsed
from tests.routes import Route, routes

ERROR_KEYS = {"success", "data", "error", "code", "request_id", "fields"}
# Answers that are no data of ours: pages, files, the document, event streams.
BARE = {
    "GET /": "text/html",
    "GET /api/v1/docs": "text/html",
    "GET /api/v1/docs/{name}": "text/javascript",
    "GET /api/v1/openapi.json": "application/json",
    "GET /metrics": "text/plain",
    "GET /api/v1/chat/{session_id}/stream": "text/event-stream",
    "GET /api/v1/generations/{generation_id}/events": "text/event-stream",
    "POST /api/v1/chat/stream": "text/event-stream",
    "POST /api/v1/chat/{session_id}/stream": "text/event-stream",
}
CREATED = {
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/tickets",
    "POST /api/v1/context/conversations",
    "POST /api/v1/keys",
    "POST /api/v1/models",
    "POST /api/v1/models/system",
    "POST /api/v1/sessions",
    "POST /api/v1/setup",
    "POST /api/v1/users",
}

MODEL = {"provider": "echo", "model": "echo"}
METRICS_TOKEN = "a-token-for-metrics-in-tests-0123456789"
BUDGETS = {"day": {"requests": 200}}
KEY = {"name": "mine", "requests_per_minute": 60}
REGISTERED = {"name": "mine", "kind": "echo"}
PRICE = MODEL | {"input": "2.5", "output": "10"}
ROUTE = {"targets": [MODEL]}
PROMPT = {"text": "Be kind."}


class Scene:
    """An application with an administrator and an answer in a session of theirs."""

    def __init__(self, app: OpenAPI, *, is_set_up: bool = True) -> None:
        self.app = app
        self.actor: Actor | None = None
        self.ids = {"name": "docs.js", "public_model": "smart"}
        if is_set_up:
            self.actor = set_up(app)
            turn = Actor.ok(self.actor.post("/api/v1/chat", {"message": "hello"}))
            self.ids |= dict.fromkeys(("session_id", "conversation_id"), turn["session_id"])
            self.ids |= {"generation_id": turn["generation_id"], "message_id": turn["message"]["parent_id"]}
            self.ids |= {"key_id": Actor.ok(self.actor.post("/api/v1/keys", KEY), 201)["id"]}
            self.ids |= {"user_id": add_user(self.actor, app, "grace").id}
            self.ids |= {"model_id": Actor.ok(self.actor.post("/api/v1/models", REGISTERED), 201)["id"]}
            Actor.ok(self.actor.put("/api/v1/prices", PRICE))
            Actor.ok(self.actor.put("/api/v1/routes/smart", ROUTE))
            Actor.ok(self.actor.put("/api/v1/prompts/smart", PROMPT))
            for owner in (f"users/{self.ids['user_id']}", f"keys/{self.ids['key_id']}"):
                Actor.ok(self.actor.put(f"/api/v1/{owner}/budgets", BUDGETS))

    def call(self, route: Route, body: Any = None, **options: Any) -> TestResponse:
        query = QUERIES.get(str(route), lambda _: {})(self)
        json = body if route.takes_body else None
        options = {"json": json, "query_string": query} | options
        if route.path == "/metrics":  # it has a token of its own
            options["headers"] = {"Authorization": f"Bearer {METRICS_TOKEN}"}
        if self.actor is None:
            return self.app.test_client().open(route.path_for(**self.ids), method=route.method, **options)
        return self.actor.request(route.method, route.path_for(**self.ids), **options)


QUERIES: dict[str, Callable[[Scene], dict[str, str]]] = {
    "DELETE /api/v1/prices": lambda _: MODEL,
    "GET /api/v1/chat/usage": lambda scene: {"session_id": scene.ids["session_id"]},
}
# What each route that takes a body needs to succeed. A new route needs a line here.
BODIES: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "PATCH /api/v1/keys/{key_id}": lambda _: KEY,
    "PATCH /api/v1/users/{user_id}": lambda _: {"email": "grace@example.org"},
    "POST /api/v1/auth/login": lambda _: {"username": "ada", "password": PASSWORD},
    "POST /api/v1/auth/logout": lambda _: {},
    "POST /api/v1/auth/refresh": lambda scene: {"refresh_token": scene.actor and scene.actor.tokens["refresh_token"]},
    "POST /api/v1/auth/register": lambda _: {"username": "linus", "password": PASSWORD},
    "POST /api/v1/auth/tickets": lambda scene: {"session_id": scene.ids["session_id"]},
    "POST /api/v1/chat": lambda _: {"message": "hello"},
    "POST /api/v1/chat/choose": lambda scene: {"message_id": scene.ids["message_id"]},
    "POST /api/v1/chat/completion": lambda _: {"message": "hello"},
    "POST /api/v1/chat/edit": lambda scene: {"message_id": scene.ids["message_id"], "message": "hi"},
    "POST /api/v1/chat/regenerate": lambda scene: {"session_id": scene.ids["session_id"]},
    "POST /api/v1/chat/stop": lambda scene: {"session_id": scene.ids["session_id"]},
    "POST /api/v1/chat/stream": lambda _: {"message": "hello"},
    "POST /api/v1/chat/{session_id}": lambda _: {"message": "hello"},
    "POST /api/v1/chat/{session_id}/stream": lambda _: {"message": "hello"},
    "POST /api/v1/context/conversations": lambda _: {},
    "POST /api/v1/generations/{generation_id}/stop": lambda _: {},
    "POST /api/v1/keys": lambda _: KEY,
    "POST /api/v1/models": lambda _: REGISTERED | {"name": "mine too"},
    "POST /api/v1/models/system": lambda _: REGISTERED | {"name": "everybody's"},
    "POST /api/v1/models/{model_id}/test": lambda _: {},
    "POST /api/v1/sessions": lambda _: {"title": "mine"},
    "POST /api/v1/setup": lambda scene: {
        "token": scene.app.extensions["unichat"].setup.setup_token,
        "username": "ada",
        "password": PASSWORD,
    },
    "POST /api/v1/users": lambda _: {"username": "margaret", "password": PASSWORD},
    "PUT /api/v1/auth/password": lambda _: {"current_password": PASSWORD, "new_password": "another good long one"},
    "PUT /api/v1/keys/{key_id}/budgets": lambda _: BUDGETS,
    "PUT /api/v1/models/{model_id}": lambda _: {"name": "mine again"},
    "PUT /api/v1/prices": lambda _: PRICE,
    "PUT /api/v1/prompts/{public_model}": lambda _: PROMPT,
    "PUT /api/v1/routes/{public_model}": lambda _: ROUTE,
    "PUT /api/v1/sessions/{session_id}": lambda _: {"title": "renamed"},
    "PUT /api/v1/users/{user_id}/budgets": lambda _: BUDGETS,
}
# Routes whose body may be empty.
OPTIONAL = {
    "PATCH /api/v1/keys/{key_id}",
    "PATCH /api/v1/users/{user_id}",
    "POST /api/v1/sessions",
    "PUT /api/v1/keys/{key_id}/budgets",
    "PUT /api/v1/models/{model_id}",
    "PUT /api/v1/sessions/{session_id}",
    "PUT /api/v1/users/{user_id}/budgets",
}


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    return make_app(
        REGISTRATION="open",
        RATE_LIMIT="100000 per minute",
        RATE_LIMIT_CHAT="100000 per minute",
        METRICS_TOKEN=METRICS_TOKEN,
    )


@pytest.fixture
def scene(app: OpenAPI) -> Scene:
    return Scene(app)


def assert_error(answer: TestResponse, status: int, code: str, route: object) -> None:
    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (status, code), (str(route), body)
    assert answer.mimetype == "application/json", str(route)
    assert set(body) == ERROR_KEYS, str(route)
    assert (body["success"], body["data"]) == (False, None), str(route)
    assert isinstance(body["error"], str), str(route)
    assert body["error"], str(route)
    assert body["request_id"] == answer.headers["X-Request-Id"], str(route)
    assert body["fields"] is None or all(isinstance(name, str) for name in body["fields"]), str(route)


def test_every_success_is_in_the_envelope(make_app: AppFactory, app: OpenAPI, tmp_path: Any) -> None:
    # Each route gets a scene of its own kind: some end what the others need.
    scene = Scene(app)
    ending = ("DELETE ", "PUT /api/v1/auth/password", "POST /api/v1/auth/logout", "POST /api/v1/auth/refresh")
    order = sorted(routes(app), key=lambda route: str(route).startswith(ending))

    for route in order:
        if str(route) == "POST /api/v1/setup":
            scene_here = Scene(make_app(DATA_DIR=tmp_path / "fresh"), is_set_up=False)
        elif str(route).startswith(ending):
            scene_here = Scene(make_app(DATA_DIR=tmp_path / route.rule.endpoint))
        else:
            scene_here = scene
        assert not route.takes_body or str(route) in BODIES, f"{route}: how does it succeed?"
        answer = scene_here.call(route, BODIES[str(route)](scene_here) if route.takes_body else None)
        assert_success(answer, route)
        answer.close()


def assert_success(answer: TestResponse, route: Route) -> None:
    if str(route) in BARE:
        status = 302 if route.path == "/" else 200
        assert (answer.status_code, answer.mimetype) == (status, BARE[str(route)]), str(route)
        return
    body = answer.get_json()
    assert answer.status_code == (201 if str(route) in CREATED else 200), (str(route), body)
    assert answer.mimetype == "application/json", str(route)
    assert set(body) == {"success", "data", "error"}, str(route)
    assert (body["success"], body["error"]) == (True, None), str(route)
    assert isinstance(body["data"], dict), str(route)


def test_streams_end_as_they_say(scene: Scene) -> None:
    for route in routes(scene.app):
        if BARE.get(str(route)) == "text/event-stream" and str(route) != "GET /api/v1/chat/{session_id}/stream":
            answer = scene.call(route, BODIES[str(route)](scene) if route.takes_body else None)
            last = list(parsed([answer.get_data()]))[-1]
            assert (last.name, last.data.get("type")) in {("message", "complete"), ("end", None)}, str(route)


def test_a_method_that_is_not_offered(scene: Scene) -> None:
    offered: dict[str, set[str]] = {}
    for route in routes(scene.app):
        offered.setdefault(route.path_for("x"), set()).add(route.method)

    for path, methods in offered.items():
        answer = scene.app.test_client().open(path, method="PROPFIND")
        assert_error(answer, 405, "method_not_allowed", path)
        assert methods <= set(answer.headers["Allow"].split(", ")), path


def test_an_address_that_does_not_exist(scene: Scene) -> None:
    for path in ("/nowhere", "/api/v1/", "/api/v2/chat", "/api/v1/sessions/a/b/c", "//api//v1//sessions", "/%2e%2e/x"):
        assert_error(scene.app.test_client().get(path), 404, "not_found", path)


def body_routes(app: OpenAPI) -> list[Route]:
    found = [route for route in routes(app) if route.takes_body]
    assert len(found) >= 20
    return found


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_body_that_is_not_declared_as_json(scene: Scene, media_type: str | None) -> None:
    for route in body_routes(scene.app):
        answer = scene.call(route, json=None, data=b'{"message": "hello"}', content_type=media_type)
        assert_error(answer, 415, "unsupported_media_type", route)


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'"text"', b"\xff", b"{" * 5000])
def test_a_body_that_is_no_json_object(scene: Scene, body: bytes) -> None:
    for route in body_routes(scene.app):
        answer = scene.call(route, json=None, data=body, content_type="application/json")
        assert_error(answer, 400, "invalid_json", route)


def test_a_body_with_a_field_of_the_wrong_type(scene: Scene) -> None:
    for route in body_routes(scene.app):
        body = BODIES[str(route)](scene)
        if not body:
            continue
        for name in body:
            answer = scene.call(route, body | {name: [{"not": "this"}]})
            assert_error(answer, 422, "invalid_request", route)
            fields = answer.get_json()["fields"]
            assert {field.partition(".")[0] for field in fields} == {name}, str(route)


def test_a_body_that_is_missing(scene: Scene) -> None:
    for route in body_routes(scene.app):
        if BODIES[str(route)](scene) and str(route) not in OPTIONAL:
            assert_error(scene.call(route), 422, "invalid_request", route)


def test_a_query_or_path_that_does_not_fit(scene: Scene) -> None:
    assert scene.actor
    for query in ("limit=0", "limit=101", "limit=x", f"cursor={'x' * 501}", "q=%00", f"q={'x' * 201}"):
        assert_error(scene.actor.get(f"/api/v1/sessions?{query}"), 422, "invalid_request", query)
    for route in routes(scene.app):
        if route.rule.arguments and not route.path.startswith("/api/v1/docs"):
            body = BODIES[str(route)](scene) if route.takes_body else None
            answer = scene.actor.request(route.method, route.path_for("é" * 3), json=body)
            assert_error(answer, 422, "invalid_request", route)


def test_a_limit_that_is_reached(make_app: AppFactory) -> None:
    app = make_app(
        RATE_LIMIT="1 per hour",
        RATE_LIMIT_CHAT="1 per hour",
        RATE_LIMIT_GATEWAY="1 per hour",
        RATE_LIMIT_AUTH="1 per hour",
    )
    client = app.test_client()
    for path in ("/healthz", "/api/v1/auth/login", "/api/v1/chat"):
        client.open(path, method="GET" if path == "/healthz" else "POST", json={})

    for route in routes(app):
        answer = client.open(route.path_for("x"), method=route.method, json={} if route.takes_body else None)
        assert_error(answer, 429, "rate_limited", route)
        assert 3000 < int(answer.headers["Retry-After"]) <= 3601
        assert answer.headers["RateLimit-Remaining"] == "0"
