"""Tokens: only what we made, for the use we made it for, counts."""

import base64
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, refused

Claims = dict[str, Any]
FLIPS = 1_000


@pytest.fixture
def key(app: OpenAPI) -> str:
    return str(app.config["JWT_SECRET_KEY"])


def _claims(token: str) -> Claims:
    return jwt.decode(token, options={"verify_signature": False})


def _me(actor: Actor, token: str) -> int:
    return actor.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code


def _refresh(actor: Actor, token: str) -> int:
    return actor.client.post("/api/v1/auth/refresh", json={"refresh_token": token}).status_code


def test_an_access_token_names_the_user_and_the_sign_in_and_nothing_secret(user: Actor) -> None:
    claims = _claims(user.tokens["access_token"])

    assert (claims["sub"], claims["type"], claims["iss"], claims["aud"]) == (user.id, "access", "unichat", "unichat")
    assert claims["sid"].startswith("sgn_")
    assert "rot" not in claims


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(user: Actor) -> None:
    assert _me(user, user.tokens["refresh_token"]) == 401
    assert _refresh(user, user.tokens["access_token"]) == 401
    assert _me(user, user.tokens["access_token"]) == 200
    assert _refresh(user, user.tokens["refresh_token"]) == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_no_flipped_bit_is_accepted(user: Actor, kind: str) -> None:
    token = user.tokens[kind].encode()
    call = _me if kind == "access_token" else _refresh
    chosen = random.Random(42).sample(range(len(token) * 7), FLIPS // 2 - 7)
    last = range((len(token) - 1) * 7, len(token) * 7)  # the last character has bits that decoders overlook

    for position in {*chosen, *last}:
        flipped = bytearray(token)
        flipped[position // 7] ^= 1 << position % 7
        if flipped[position // 7] in b"\r\n\0":
            continue  # no HTTP client sends it
        assert call(user, flipped.decode()) in (401, 422), (position, bytes(flipped))

    assert call(user, token.decode()) == 200


@pytest.mark.parametrize("addition", ["=", "==", "!", ".", "A", " x", "\u00e9"])
def test_nothing_may_be_added(user: Actor, addition: str) -> None:
    assert _me(user, user.tokens["access_token"] + addition) == 401


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "other"},
        {"aud": None},
        {"iss": "other"},
        {"iss": None},
        {"type": "refresh"},
        {"type": "other"},
        {"sid": None},
        {"sid": 7},
        {"sid": "sgn_00000000000000000000000000"},
        {"sub": "usr_00000000000000000000000000"},
        {"sub": None},
        {"sub": 7},
        {"exp": datetime.now(UTC) - timedelta(seconds=1)},
        {"nbf": datetime.now(UTC) + timedelta(hours=1)},
        {"iat": datetime.now(UTC) + timedelta(hours=1)},
    ],
)
def test_every_claim_is_checked_even_under_a_good_signature(user: Actor, key: str, change: Claims) -> None:
    claims = {name: value for name, value in (_claims(user.tokens["access_token"]) | change).items() if value}

    assert _me(user, jwt.encode(claims, key, "HS256")) == 401


def test_an_expired_token_is_refused_with_its_own_code(user: Actor, key: str) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = jwt.encode(_claims(user.tokens["access_token"]) | {"exp": past}, key, "HS256")

    refused(user.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {expired}"}), 401, "token_expired")


def test_one_users_sign_in_does_not_carry_another_user(user: Actor, admin: Actor, key: str) -> None:
    claims = _claims(user.tokens["access_token"]) | {"sub": admin.id}

    assert _me(user, jwt.encode(claims, key, "HS256")) == 401


def _unsigned(claims: Claims, header: dict[str, Any]) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return ".".join(parts)


@pytest.mark.parametrize(
    "forge",
    [
        lambda claims, key: _unsigned(claims, {"alg": "none", "typ": "JWT"}) + ".",
        lambda claims, key: _unsigned(claims, {"alg": "None"}) + ".",
        lambda claims, key: _unsigned(claims, {"alg": "HS256"}) + ".",
        lambda claims, key: _unsigned(claims, {"alg": "RS256"}) + ".AAAA",
        lambda claims, key: jwt.encode(claims, key, "HS512"),
        lambda claims, key: jwt.encode(claims, "another-key-of-at-least-32-characters", "HS256"),
        lambda claims, key: jwt.encode(claims, "another-key-of-at-least-32-characters", "HS256", {"jku": "http://x/"}),
        lambda claims, key: "",
        lambda claims, key: "a.b.c",
        lambda claims, key: "....",
        lambda claims, key: "x" * 20_000,
    ],
)
def test_forged_tokens_are_refused(user: Actor, key: str, forge: Callable[[Claims, str], str]) -> None:
    token = forge(_claims(user.tokens["access_token"]), key)

    assert _me(user, token) == 401
    assert _refresh(user, token) in (401, 422)


def test_a_refresh_token_without_its_secret_ends_the_sign_in(user: Actor, key: str) -> None:
    claims = _claims(user.tokens["refresh_token"])
    del claims["rot"]

    assert _refresh(user, jwt.encode(claims, key, "HS256")) == 401
