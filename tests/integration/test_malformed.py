"""Thousands of malformed requests: never a 5xx, never a word about our insides, always an error in our shape.

UNICHAT_MALFORMED_REQUESTS sets how many there are, UNICHAT_MALFORMED_SEED which ones.
"""

import contextlib
import io
import itertools
import json
import os
import re
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import create_environ, run_wsgi_app

from tests.actors import PASSWORD, Actor, add_user, set_up
from tests.conftest import AppFactory, NodeFactory
from tests.malformed import Malformer, Request
from tests.routes import routes
from tests.servers import ROOT

COUNT = int(os.environ.get("UNICHAT_MALFORMED_REQUESTS", "3000"))
SEED = int(os.environ.get("UNICHAT_MALFORMED_SEED", "20261121"))
SLOWEST_S = 5.0
PIECES = 3  # of a stream are read: some have no end
RENEW_EVERY = 80
SHARES = {"sqlite": 0.7, "mariadb": 0.3, "postgresql": 0.3}  # most faults are found before any database is asked
MAX_BODY = 2 * 1024 * 1024
INSIDES = (
    b"Traceback",
    b'File "',
    str(ROOT).encode(),
    b"site-packages",
    b"sqlalchemy",
    b"sqlite",
    b"pydantic",
    b"0x7f",
)
KEYS = {"success", "data", "error", "code", "request_id", "fields"}


@pytest.fixture
def app(make_app: AppFactory, database_url: str) -> OpenAPI:
    limits = dict.fromkeys(
        ("RATE_LIMIT", "RATE_LIMIT_CHAT", "RATE_LIMIT_GATEWAY", "RATE_LIMIT_AUTH"), "1000000000 per minute"
    )
    return make_app(
        DATABASE_URL=database_url,
        LOGGING_LEVEL="ERROR",
        SSE_HEARTBEAT_INTERVAL_MS=100,
        MAX_STREAMS_PER_USER=1000,
        MAX_BODY_BYTES=MAX_BODY,
        **limits,
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def send(app: OpenAPI, request: Request, token: str) -> Answer:
    """Past the client's own sense of order, as a server hands it over."""
    environ = create_environ(method=request.method, query_string=request.query.decode("latin-1"))
    environ["PATH_INFO"] = request.path.decode("latin-1")
    environ["wsgi.input"] = io.BytesIO(request.body)
    if request.chunked:
        environ["HTTP_TRANSFER_ENCODING"], environ["wsgi.input_terminated"] = "chunked", True
    elif request.body:
        environ["CONTENT_LENGTH"] = str(len(request.body))
    if token:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    started = time.perf_counter()
    pieces, status, headers = run_wsgi_app(app, environ, buffered=False)
    body = b"".join(itertools.islice(pieces, PIECES))
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
    return Answer(int(status.split()[0]), dict(headers), body, time.perf_counter() - started)


def faults(request: Request, answer: Answer) -> list[str]:
    """What is wrong with an answer to a malformed request."""
    told = answer.body.replace(answer.headers.get("X-Request-Id", "-").encode(), b"")  # an id may well have 0x7f in it
    found = [f"tells {inside!r}" for inside in INSIDES if inside in told]
    if answer.status >= 500:
        found.append("5xx")
    if answer.seconds > SLOWEST_S:
        found.append(f"took {answer.seconds:.1f} s")
    if any("x-injected" in name.lower() or "\n" in value or "\r" in value for name, value in answer.headers.items()):
        found.append("header injection")
    if not answer.headers.get("X-Request-Id"):
        found.append("no request id")
    is_error = _is_error_of_v1 if below_v1(request) else _is_error
    if answer.status >= 400 and request.method != "HEAD" and not is_error(answer):
        found.append("not an error in our shape")
    return found


def below_v1(request: Request) -> bool:
    """Whether the address is one of the other protocols', which have errors of their own."""
    return (request.path.lstrip(b"/") + b"/").startswith(b"v1/")


def _is_error_of_v1(answer: Answer) -> bool:
    if answer.headers.get("Content-Type") != "application/json":
        return False
    error = json.loads(answer.body)["error"]
    return set(error) == {"message", "type", "param", "code"} and bool(error["message"] and error["type"])


def _is_error(answer: Answer) -> bool:
    if answer.headers.get("Content-Type") != "application/json":
        return False
    body = json.loads(answer.body)
    return (
        set(body) == KEYS
        and body["success"] is False
        and body["data"] is None
        and bool(body["error"] and body["code"])
        and body["request_id"] == answer.headers["X-Request-Id"]
    )


class World:
    """What the requests are about. It is made anew now and then, for some of them delete it."""

    def __init__(self, app: OpenAPI) -> None:
        self._app = app
        self._number = 0
        admin = set_up(app)
        self.callers = {"admin": admin, "user": add_user(admin, app, "grace")}
        self.ids: dict[str, str] = {}
        self.fields: dict[str, Any] = dict(PLAIN_FIELDS)
        self.renew()

    def token_of(self, name: str) -> str:
        return str(self.callers[name].tokens["access_token"]) if name in self.callers else ""

    def renew(self) -> None:
        """Sign in again, and make a session and a user."""
        self._number += 1
        self.callers = {name: self._signed_in(actor) for name, actor in self.callers.items()}
        turn = Actor.ok(self.callers["user"].post("/api/v1/chat", {"message": "hello"}))
        victim = {"username": f"victim-{self._number}", "password": PASSWORD}
        user_id = Actor.ok(self.callers["admin"].post("/api/v1/users", victim), 201)["id"]
        session_id, generation_id = turn["session_id"], turn["generation_id"]
        self.ids |= {"session_id": session_id, "conversation_id": session_id}
        self.ids |= {"generation_id": generation_id, "user_id": user_id}
        self.fields |= {"session_id": session_id, "sessionId": session_id, "generation_id": generation_id}
        self.fields |= {"message_id": turn["message"]["id"]}

    def _signed_in(self, actor: Actor) -> Actor:
        login = {"username": actor.user["username"], "password": PASSWORD}
        return Actor(self._app, Actor.ok(self._app.test_client().post("/api/v1/auth/login", json=login)))


PLAIN_FIELDS = {
    "message": "hello",
    "attachments": [{"type": "image", "url": "https://example.org/a.png", "name": "a"}],
    "config": {"system_prompt": "be kind", "temperature": 0.5, "max_tokens": 5},
    "provider": "echo",
    "ai_provider": "echo",
    "model": "echo",
    "stream": False,
    "title": "a title",
    "system_prompt": "be brief",
    "temperature": 1,
    "max_tokens": 10,
    "pinned": True,
    "archived": False,
    "username": "somebody",
    "password": "not the right one",
    "email": "a@example.org",
    "role": "USER",
    "is_active": True,
    "token": "x",
    "refresh_token": "a.b.c",
    "current_password": "wrong",
    "new_password": "also wrong and long",
}


def test_malformed_requests_are_refused_in_our_shape(app: OpenAPI, database_kind: str) -> None:
    world = World(app)
    count, seed = int(COUNT * SHARES[database_kind]), f"{SEED}/{database_kind}"
    malformer = Malformer(seed, routes(app), world.fields, world.ids)
    seen: Counter[int] = Counter()
    wrong = []

    for number, request in enumerate(malformer.requests(count), 1):
        answer = send(app, request, world.token_of(request.caller))
        seen[answer.status] += 1
        found = faults(request, answer)
        wrong += [f"{number}: {fault}: {request} -> {answer.status} {answer.body[:300]!r}" for fault in found]
        if number % RENEW_EVERY == 0:
            world.renew()

    assert wrong == [], "\n".join(wrong[:20])
    assert {200, 201, 400, 401, 403, 404, 405, 413, 415, 422} <= set(seen), "the generator has lost its variety"
    assert seen[401] + seen[404] < count * 2 // 3


BAD_CHUNKS = (
    b"zz\r\n{}\r\n0\r\n\r\n",
    b"-1\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}garbage",
    b"ffffffffffffffffffff\r\n{}",
    b"2;x=" + b"y" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
)
START = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
BROKEN_HTTP = (
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n folded: y\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\rX-Injected: 1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\x00b\r\n\r\n",
    b"GET /healthz%0d%0aX-Injected:%201 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //evil.example/%2f.. HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    START + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
    START + b"Content-Length: -1\r\n\r\n{}",
    START + b"Content-Length: 1e3\r\n\r\n{}",
    START + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    START + b"Content-Length: 50\r\n\r\n{",  # and then nothing more
    *(START + b"Transfer-Encoding: chunked\r\n\r\n" + chunks for chunks in BAD_CHUNKS),
    START + b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 0x100000 + b"\r\n" * 3,
)


def exchange(port: int, sent: bytes) -> bytes:
    """What a server says to some bytes, after which the client sends no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(OSError):  # it may hang up before it has read everything
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return received


def test_a_node_survives_what_is_not_even_http(start_node: NodeFactory) -> None:
    node = start_node(MAX_BODY_BYTES=65536).wait_ready()
    workers = node.worker_pids

    for sent in BROKEN_HTTP:
        received = exchange(node.port, sent)
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", received)
        # 501 is what RFC 9112 asks for in answer to an unknown transfer coding.
        assert status is None or int(status[1]) < 500 or status[1] == b"501", (sent[:200], received[:500])
        assert not any(inside in received for inside in INSIDES), (sent[:200], received[:500])
        assert b"\nx-injected" not in received.lower(), sent[:200]

    assert node.get("/healthz")[0] == 200
    assert node.worker_pids == workers
    assert node.events("unhandled_error") == []
