"""People who use the API in tests."""

from typing import Any

from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

PASSWORD = "correct horse battery"


class Actor:
    """A signed-in caller. ``user`` is what the API says of them, ``tokens`` what they were given."""

    def __init__(self, app: OpenAPI, tokens: dict[str, Any]) -> None:
        self.client: FlaskClient = app.test_client()
        self.tokens = tokens
        self.user: dict[str, Any] = tokens["user"]
        self.id: str = self.user["id"]

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("PUT", path, json=json, **options)

    def patch(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("PATCH", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.request("DELETE", path, **options)

    def request(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"} | options.pop("headers", {})
        return self.client.open(path, method=method, headers=headers, **options)

    @staticmethod
    def ok(response: TestResponse, status: int = 200) -> Any:
        return ok(response, status)


def ok(response: TestResponse, status: int = 200) -> Any:
    """The data of a success."""
    assert response.status_code == status, response.get_data(as_text=True)
    body = response.get_json()
    assert body["success"] is True
    assert body["error"] is None
    return body["data"]


def refused(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The body of a failure."""
    body: dict[str, Any] = response.get_json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["success"] is False
    return body


def set_up(app: OpenAPI, username: str = "ada") -> Actor:
    """Complete the setup; the first administrator."""
    token = app.extensions["unichat"].setup.setup_token
    body = {"token": token, "username": username, "password": PASSWORD}
    return Actor(app, ok(app.test_client().post("/api/v1/setup", json=body), 201))


def add_user(admin: Actor, app: OpenAPI, username: str, **fields: Any) -> Actor:
    """A user whom an administrator makes, signed in."""
    admin.ok(admin.post("/api/v1/users", {"username": username, "password": PASSWORD} | fields), 201)
    return sign_in(app, username)


def sign_in(app: OpenAPI, username: str, password: str = PASSWORD) -> Actor:
    """One more sign-in of a user."""
    body = {"username": username, "password": password}
    return Actor(app, ok(app.test_client().post("/api/v1/auth/login", json=body)))
