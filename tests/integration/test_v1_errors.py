"""What goes wrong under /v1 before a handler is reached is told in the words of the protocol that is spoken there."""

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("POST", "/v1/nowhere/at/all", 404, "not_found"),
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


def test_addresses_that_only_look_alike_keep_our_own_shape(user: Actor) -> None:
    assert set(user.get("/v1beta/x").get_json()) >= {"success", "code", "request_id"}
