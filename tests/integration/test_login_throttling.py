"""Guessing passwords, seen from outside."""

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.actors import PASSWORD, Actor, ok, refused

WRONG = "wrong horse battery"


def _login(client: FlaskClient, username: str, password: str = PASSWORD, address: str = "127.0.0.1") -> TestResponse:
    body = {"username": username, "password": password}
    return client.post("/api/v1/auth/login", json=body, environ_base={"REMOTE_ADDR": address})


def test_guessing_is_throttled_and_says_for_how_long(client: FlaskClient, user: Actor) -> None:
    for _ in range(5):
        refused(_login(client, "grace", WRONG), 401, "invalid_credentials")

    answer = _login(client, "grace", PASSWORD)  # even the right one: a guesser must not learn it

    refused(answer, 429, "too_many_attempts")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    ok(_login(client, "ada"))


def test_unknown_names_are_throttled_like_known_ones(client: FlaskClient, user: Actor) -> None:
    statuses = [[_login(client, name, WRONG).status_code for _ in range(7)] for name in ("grace", "nobody")]

    assert statuses[0] == statuses[1] == [401] * 5 + [429] * 2


def test_guesses_from_a_hundred_addresses_succeed_never_and_lock_nobody_out(client: FlaskClient, user: Actor) -> None:
    addresses = [f"203.0.113.{number}" for number in range(100)]
    answers = [_login(client, "grace", WRONG, address).status_code for address in addresses for _ in range(8)]

    assert set(answers) == {401, 429}
    assert answers.count(401) <= 30 + len(addresses)
    ok(_login(client, "grace", PASSWORD, "198.51.100.7"))  # the owner, from an address never seen before
    ok(_login(client, "grace", PASSWORD, "127.0.0.1"))  # and from one that is known


def test_a_spoofed_address_does_not_move_the_throttle(client: FlaskClient, user: Actor) -> None:
    body = {"username": "grace", "password": WRONG}
    statuses = [
        client.post("/api/v1/auth/login", json=body, headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code
        for n in range(7)
    ]

    assert statuses == [401] * 5 + [429] * 2
