"""A node whose database has stopped, or is frozen: nobody waits for it for long, and all goes on when it is back."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.chats import eventually
from tests.conftest import NodeFactory
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import DATABASE_SERVERS, DatabaseServer

ANSWER = '[[script {"words": 60, "pace_ms": 50}]]'
PATIENCE_S = 6  # on a busy machine; on a quiet one it is 3. Without the watch, a driver waits for 15


@pytest.fixture(params=DATABASE_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A database server of this test's own."""
    server = DATABASE_SERVERS[request.param]()
    yield server
    server.close()


@pytest.fixture
def node(start_node: NodeFactory, provider: ScriptedProvider, server: DatabaseServer) -> Node:
    return start_node(
        DATABASE_URL=server.migrated_database(),
        OPENAI_BASE_URL=provider.openai_url,
        OPENAI_API_KEY="x",
        AUTO_TITLE="false",
        RATE_LIMIT="10000 per minute",
        RATE_LIMIT_CHAT="10000 per minute",
    ).wait_ready()


def stop(server: DatabaseServer) -> tuple[Callable[[], None], Callable[[], None]]:
    return server.stop, server.start


def freeze(server: DatabaseServer) -> tuple[Callable[[], None], Callable[[], None]]:
    return server.freeze, server.thaw


def ask(node: Node, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, str, str | None, float]:
    """Status, code, Retry-After, and seconds until the answer."""
    asked_at = time.monotonic()
    with node.open(method, path, body, token) as response:
        answer = json.loads(response.read())
        took = time.monotonic() - asked_at
        return response.status, answer.get("code", ""), response.headers["Retry-After"], took


@pytest.mark.parametrize("kind", [stop, freeze])
def test_whoever_asks_is_sent_away_and_what_runs_is_saved_when_it_is_back(
    node: Node, server: DatabaseServer, kind: Callable[[DatabaseServer], Any]
) -> None:
    go_away, come_back = kind(server)
    token = node.set_up()
    chat = ("POST", "/api/v1/chat", {"message": "hello"}, token)
    calls = [
        chat,
        ("GET", "/api/v1/sessions", None, token),
        ("GET", "/api/v1/auth/me", None, token),
        ("POST", "/api/v1/auth/login", {"username": "ada", "password": "wrong and long"}, ""),
        ("POST", "/api/v1/chat/stream", {"message": "hello"}, token),
    ]
    with node.open("POST", "/api/v1/chat/stream", {"message": ANSWER}, token) as stream:
        while b'"type":"content"' not in stream.readline():
            pass
        go_away()
        with ThreadPoolExecutor(len(calls)) as pool:
            first = list(pool.map(lambda call: ask(node, *call), calls))
        later = [ask(node, *call) for call in calls]
        health, parts = node.get("/readyz")
        come_back()
        eventually(lambda: ask(node, *chat)[0] == 200, seconds=10)
        told = stream.read().decode()

    for status, code, retry_after, took in [*first, *later]:
        assert (status, code) == (503, "database_unavailable")
        assert int(retry_after or 0) > 0
        assert took < PATIENCE_S
    assert health == 503
    assert "database" in parts
    last = json.loads(told.strip().rpartition("data: ")[2])
    assert (last["type"], last["message"]["status"]) == ("complete", "completed")
    saved = node.call("GET", f"/api/v1/sessions/{last['message']['session_id']}/messages", token=token)["items"][-1]
    assert saved["content"] == last["message"]["content"] != ""
    assert node.get("/readyz")[0] == 200
    hung = [len(node.events(name)) for name in ("database_hangs", "database_answers")]
    assert hung == ([1, 1] if kind is freeze else [0, 0])
    assert "Traceback" not in node.log()
