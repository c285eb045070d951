"""The books of real nodes: whatever dies meanwhile, what was held and used adds up, and no budget is passed."""

import contextlib
import http.client
import threading
import time
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from tests.chats import told
from tests.conftest import NodeFactory
from tests.node import Node
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Servers

BUDGET = 50
CLIENTS, TURNS_EACH = 40, 5
ANSWER = {"words": 20, "pace_ms": 20}


@pytest.fixture
def nodes(start_node: NodeFactory, provider: ScriptedProvider, database_url: str) -> tuple[Node, Node]:
    settings = {
        "DATABASE_URL": database_url,
        "OPENAI_BASE_URL": provider.openai_url,
        "OPENAI_API_KEY": "x",
        "AUTO_TITLE": "false",
        "RATE_LIMIT": "100000 per minute",
        "RATE_LIMIT_CHAT": "100000 per minute",
        "MAX_STREAMS_PER_USER": 1000,
    }
    first, second = start_node(**settings), start_node(**settings)
    return first.wait_ready(), second.wait_ready()


class _Client:
    """Makes turns, one after the other: some are read, some left alone, some stopped. Notes their statuses."""

    def __init__(self, number: int, nodes: tuple[Node, Node], token: str, statuses: list[int]) -> None:
        self._number, self._nodes, self._token, self._statuses = number, nodes, token, statuses

    def __call__(self) -> None:
        give_up = time.monotonic() + 120
        for turn in range(self._number, self._number + TURNS_EACH):
            while (status := self._try(turn)) == 503 and time.monotonic() < give_up:  # the database is away
                time.sleep(0.3)
            self._statuses.append(status)

    def _try(self, turn: int) -> int:
        for node in (self._nodes[turn % 2], self._nodes[0]):
            with contextlib.suppress(OSError, http.client.HTTPException):  # the node is dead
                return self._turn(node, turn % 4)
        return 503

    def _turn(self, node: Node, kind: int) -> int:
        body = {"message": told(**ANSWER)}
        with node.open("POST", "/api/v1/chat/stream", body, self._token) as response:
            if response.status != 200:
                return response.status
            generation_id = response.headers["X-Generation-Id"]
            response.read(1) if kind == 0 else response.readline() if kind == 1 else response.read()
        if kind == 1:
            with node.open("POST", "/api/v1/chat/stop", {"generation_id": generation_id}, self._token):
                pass
        return response.status


def test_a_budget_is_kept_through_aborts_stops_a_kill_and_a_restart_of_the_database(
    nodes: tuple[Node, Node], provider: ScriptedProvider, database_url: str, servers: Servers
) -> None:
    token = nodes[0].set_up()
    user_id = nodes[0].call("GET", "/api/v1/auth/me", token=token)["id"]
    price = {"provider": "openai", "model": _model(nodes[0], token), "input": 1, "output": 2}
    nodes[0].call("PUT", "/api/v1/prices", price, token)
    nodes[0].call("PUT", f"/api/v1/users/{user_id}/budgets", {"total": {"requests": BUDGET}}, token)
    statuses: list[int] = []

    trouble = threading.Thread(target=_harm, args=(nodes[1], provider, servers))
    trouble.start()
    at_once(*[_Client(number, nodes, token, statuses) for number in range(CLIENTS)])
    trouble.join()

    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    _wait_for_ends(engine)
    _check_books(engine)
    assert len(statuses) == CLIENTS * TURNS_EACH
    assert set(statuses) == {200, 429}


def _harm(node: Node, provider: ScriptedProvider, servers: Servers) -> None:
    """In the midst of it, kill a node, and have the database away for a second."""
    provider.wait_requests(10, timeout=30)
    node.kill()
    server = servers.database("mariadb")
    server.stop()
    time.sleep(1)
    server.start()


def _check_books(engine: sa.Engine) -> None:
    """Each turn has come to one end; nothing is held; the balance is the ledger's, and within the budget."""
    (budget,) = _all(engine, "SELECT * FROM budgets")
    entries = _all(engine, "SELECT * FROM ledger WHERE budgeted")
    generations = _all(engine, "SELECT * FROM generations")
    settled = [entry for entry in entries if entry["state"] == "settled"]
    first_attempts = Counter(entry["generation_id"] for entry in entries if entry["attempt"] == 1)
    assert {entry["state"] for entry in entries} <= {"settled", "released"}
    assert {generation["status"] for generation in generations} <= {"completed", "stopped", "interrupted", "failed"}
    assert first_attempts == Counter(generation["id"] for generation in generations)
    assert (budget["requests_held"], budget["tokens_held"], budget["cost_held"]) == (0, 0, 0)
    assert budget["total_requests_used"] == len({entry["generation_id"] for entry in settled}) <= BUDGET
    assert budget["total_tokens_used"] == sum(row["prompt_tokens"] + row["completion_tokens"] for row in settled)
    assert budget["total_cost_used"] == sum(entry["cost"] for entry in settled) > 0


def _model(node: Node, token: str) -> str:
    """The model that answers by default."""
    items = node.call("GET", "/api/v1/providers", token=token)["items"]
    return str(items[0]["models"][0]["name"])


def _wait_for_ends(engine: sa.Engine) -> None:
    give_up = time.monotonic() + 90
    while _all(engine, "SELECT id FROM generations WHERE status = 'running'"):
        assert time.monotonic() < give_up, "something is left running"
        time.sleep(0.2)


def _all(engine: sa.Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]
