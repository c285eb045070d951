"""What the checker looks at: the clients' history, the rows of the database, and the provider's own log."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from tests.chaos.history import History, Turn
from tests.scripted_provider.client import Entry

Row = dict[str, Any]

_TAG = re.compile(r"\A(\w+)\?")


@dataclass(frozen=True)
class Evidence:
    """All of it. Rows are by id."""

    history: History
    generations: dict[str, Row]
    messages: dict[str, Row]
    upstream: list[Entry]
    ledger: list[Row]
    budgets: list[Row]

    @cached_property
    def calls(self) -> dict[str, list[Entry]]:
        """The provider's entries by the tag of the message that was to be answered, oldest first."""
        found: dict[str, list[Entry]] = {}
        for entry in self.upstream:
            if tag := _tag(entry):
                found.setdefault(tag, []).append(entry)
        return found

    @cached_property
    def turns(self) -> dict[str, Turn]:
        """The acknowledged turns by their generation."""
        return {turn.generation_id: turn for turn in self.history.acknowledged()}

    def calls_of(self, generation_id: str) -> list[Entry]:
        """What the provider was asked for a generation."""
        turn = self.turns.get(generation_id)
        return self.calls.get(turn.tag, []) if turn else []

    def bill(self, generation_id: str) -> list[Row]:
        """The ledger's rows for a generation's attempts."""
        return self._bills.get(generation_id, [])

    @cached_property
    def _bills(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.ledger:
            if row["kind"] == "chat":
                found.setdefault(row["generation_id"], []).append(row)
        return found

    def answers(self) -> Iterator[tuple[str, Row, Row]]:
        """(generation id, generation, its message) of every acknowledged turn whose rows are there."""
        for generation_id in self.turns:
            generation = self.generations.get(generation_id)
            message = self.messages.get(generation["message_id"]) if generation else None
            if generation and message:
                yield generation_id, generation, message


def _tag(entry: Entry) -> str:
    messages = (entry["body"] or {}).get("messages") or [{}]
    content = messages[-1].get("content", "")
    found = _TAG.match(content if isinstance(content, str) else json.dumps(content))
    return found[1] if found else ""


def read_rows(url: str, table: str) -> list[Row]:
    """All rows of a table."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT * FROM {table}")).mappings().all()
    return [dict(row) for row in rows]


def gather(history: History, url: str, upstream: list[Entry]) -> Evidence:
    """The evidence as it stands now."""
    generations = {row["id"]: row for row in read_rows(url, "generations")}
    messages = {row["id"]: row for row in read_rows(url, "messages")}
    return Evidence(history, generations, messages, upstream, read_rows(url, "ledger"), read_rows(url, "budgets"))


def wait_settled(url: str, seconds: float) -> float:
    """Wait until no generation is running; how long that took. Returns after ``seconds`` at the latest."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if not any(row["status"] == "running" for row in read_rows(url, "generations")):
            break
        time.sleep(0.1)
    return time.monotonic() - started
