"""What goes wrong under /v1 before a handler is reached is told in the words of the protocol that is spoken there."""

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, set_up
from tests.conftest import AppFactory


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("POST", "/v1/nowhere/at/all", 404, "not_found"),
        ("DELETE", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/v1/models/no/such", 404, "model_not_found"),
    ],
)
def test_the_framework_s_errors(app: OpenAPI, user: Actor, method: str, path: str, status: int, code: str) -> None:
    answer = user.request(method, path)

    error = answer.get_json()["error"]
    assert (answer.status_code, error["type"], error["param"], error["code"]) == (
        status,
        "invalid_request_error",
        None,
        code,
    )
    assert error["message"]
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{", "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_json"),
        (b"\xff", "application/json", 400, "invalid_json"),
        (b'{"model": "\xff", "messages": []}', "application/json", 400, "invalid_json"),
        (b'{"a":' * 5000, "application/json", 400, "invalid_json"),
        (b"{}", "application/json", 400, "missing_required_parameter"),
        (b'{"model": "echo", "messages": "x"}', "application/json", 400, "invalid_type"),
    ],
)
def test_bodies_that_cannot_be_read(user: Actor, body: bytes, media_type: str, status: int, code: str) -> None:
    answer = user.post("/v1/chat/completions", data=body, content_type=media_type)

    assert (answer.status_code, answer.get_json()["error"]["code"]) == (status, code)


def test_a_body_that_is_too_large(make_app: AppFactory) -> None:
    app = make_app(MAX_BODY_BYTES=1024)
    answer = set_up(app).post("/v1/chat/completions", {"model": "x" * 2000})

    assert (answer.status_code, answer.get_json()["error"]["code"]) == (413, "too_large")


def test_who_calls_without_a_key(app: OpenAPI) -> None:
    answer = app.test_client().get("/v1/models")

    assert (answer.status_code, answer.get_json()["error"]["code"]) == (401, "invalid_api_key")


def test_keys_have_their_own_limits_and_strangers_those_of_their_address(make_app: AppFactory) -> None:
    app = make_app(RATE_LIMIT="3 per hour")
    made = Actor.ok(set_up(app).post("/api/v1/keys", {"name": "a program"}), 201)
    client = app.test_client()
    authorized = {"Authorization": f"Bearer {made['key']}"}

    assert {client.get("/v1/models", headers=authorized).status_code for _ in range(10)} == {200}
    statuses = [client.get("/v1/models").status_code for _ in range(5)]
    assert statuses[-1] == 429
    assert client.get("/v1/models").get_json()["error"]["code"] == "rate_limit_exceeded"


def test_addresses_that_only_look_alike_keep_our_own_shape(user: Actor) -> None:
    assert set(user.get("/v1beta/x").get_json()) >= {"success", "code", "request_id"}
