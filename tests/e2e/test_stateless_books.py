"""The books of what is not stored, at real nodes: who had their answer is in them, whatever dies, and nobody passes."""

import contextlib
import http.client
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.chats import told
from tests.conftest import NodeFactory
from tests.node import Node
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

USED = {"prompt_tokens": 11, "completion_tokens": 7}
BUDGET = 50


def settings_of(provider: ScriptedProvider, url: str) -> dict[str, Any]:
    return {
        "DATABASE_URL": url,
        "OPENAI_BASE_URL": provider.openai_url,
        "OPENAI_API_KEY": "x",
        "RATE_LIMIT": "100000 per minute",
        "RATE_LIMIT_CHAT": "100000 per minute",
    }


class Program:
    """Asks a node for one answer after the other, and counts what came of it."""

    def __init__(self, node: Node, key: str, model: str) -> None:
        self._node, self._key, self._model = node, key, model
        self.statuses: Counter[int] = Counter()

    def ask(self, count: int, **script: Any) -> None:
        """So many times, as long as there is a node."""
        body = {"model": self._model, "messages": [{"role": "user", "content": told(usage=USED, **script)}]}
        with contextlib.suppress(OSError, http.client.HTTPException):
            for _ in range(count):
                with self._node.open("POST", "/v1/chat/completions", body, self._key) as response:
                    json.loads(response.read())  # it is whole
                self.statuses[response.status] += 1


def set_up(node: Node, **total: Any) -> tuple[str, str]:
    """A budget in total; a key that it counts for, and a model."""
    token = node.set_up()
    user_id = node.call("GET", "/api/v1/auth/me", token=token)["id"]
    node.call("PUT", f"/api/v1/users/{user_id}/budgets", {"total": total}, token)
    model = node.call("GET", "/api/v1/providers", token=token)["items"][0]["models"][0]["name"]
    return node.call("POST", "/api/v1/keys", {"name": "a program"}, token)["key"], model


@pytest.mark.parametrize("embedded", [True, False])
def test_a_kill_loses_nothing_that_was_answered(
    start_node: NodeFactory, provider: ScriptedProvider, database_url: str, tmp_path: Path, embedded: bool
) -> None:
    database_url = f"sqlite:///{tmp_path / 'books.db'}" if embedded else database_url
    node = start_node(**settings_of(provider, database_url)).wait_ready()
    key, model = set_up(node, requests=10_000)
    programs = [Program(node, key, model) for _ in range(12)]

    def kill() -> None:
        provider.wait_requests(60, timeout=30)
        node.kill()

    at_once(kill, *[lambda one=one: one.ask(1000, words=3, pace_ms=1) for one in programs])

    answered = sum(one.statuses[200] for one in programs)
    rows = rows_of(database_url, "SELECT * FROM ledger")
    settled = {row["generation_id"] for row in rows if row["state"] == "settled"}
    reserved = [row for row in rows if row["state"] == "reserved"]
    assert 0 < answered <= len(settled)
    assert {row["state"] for row in rows} <= {"settled", "reserved"}
    assert len(reserved) <= len(programs)
    (budget,) = rows_of(database_url, "SELECT * FROM budgets")
    assert budget["requests_held"] == len(reserved)
    assert budget["tokens_held"] == sum(row["held_tokens"] for row in reserved)
    assert (budget["total_requests_used"], budget["total_tokens_used"]) == (len(settled), 18 * len(settled))


def rows_of(url: str, query: str) -> list[dict[str, Any]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


def test_two_nodes_let_in_what_the_budget_allows(
    start_node: NodeFactory, provider: ScriptedProvider, database_url: str
) -> None:
    nodes = [start_node(**settings_of(provider, database_url)).wait_ready() for _ in range(2)]
    key, model = set_up(nodes[0], requests=BUDGET)
    programs = [Program(nodes[number % 2], key, model) for number in range(20)]

    at_once(*[lambda one=one: one.ask(10, words=3, first_token_ms=300) for one in programs])

    statuses = sum((one.statuses for one in programs), Counter[int]())
    assert statuses == {200: BUDGET, 429: 200 - BUDGET}
    (budget,) = rows_of(database_url, "SELECT * FROM budgets")
    assert (budget["requests_held"], budget["tokens_held"]) == (0, 0)
    assert (budget["total_requests_used"], budget["total_tokens_used"]) == (BUDGET, 18 * BUDGET)
