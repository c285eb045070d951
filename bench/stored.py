"""What is stored costs nothing: the same turn, and every list, on a database that years have filled.

    python -m bench.stored [--rows 10000000] [--rounds 20] [--keep FOLDER] [--database sqlite|mariadb|postgresql]

Two nodes serve: one on a database with next to nothing in it, the other on one with so many rows in the ledger, users
with 10 and 100,000 sessions, sessions of 10 and 10,000 messages. Turns are asked of both in alternation, and every
list is read. SQLite's databases stay in ``--keep`` and are used again: filling them takes minutes.
"""

import argparse
import contextlib
import json
import re
import statistics
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.filling import MANY, fill_ledger, fill_sessions
from bench.gateways import MODEL, Provider
from bench.machine import cpu_seconds, tree
from bench.report import run
from domain.clock import now
from models import SessionEntity
from repositories.database import Database, engine_options
from repositories.paging import page_of
from repositories.schema import ensure_schema
from repositories.unit_of_work import unit_of_work_on
from tests.actors import PASSWORD
from tests.node import Node, running_node
from tests.servers import DATABASE_SERVERS, MIGRATIONS, DatabaseServer

_TIMES = 10
_TURNS = 10  # of a kind in a round
_GROUPINGS = ("day", "model", "user", "key", "day,model", "user,model")
_QUIET = {"AUTO_TITLE": "false", "WORKERS": 1} | dict.fromkeys(
    ("RATE_LIMIT", "RATE_LIMIT_CHAT", "RATE_LIMIT_AUTH"), "100000000 per minute"
)


class Place:
    """A node on one database, with those who use it."""

    def __init__(self, node: Node, engine: sa.Engine) -> None:
        self.node = node
        self.engine = engine
        try:
            self.admin = self._signed_in("ada")
        except AssertionError:
            self.admin = node.set_up()
        self.tokens = {"ada": self.admin, "few": self._user("user-few"), "many": self._user("user-many")}
        with engine.connect() as connection:
            named = sa.select(SessionEntity.title, SessionEntity.id).where(
                SessionEntity.title.in_(("short", "long", "of many"))
            )
            self.sessions = {title: session_id for title, session_id in connection.execute(named)}  # noqa: C416  # rows

    def _signed_in(self, name: str) -> str:
        body = {"username": name, "password": PASSWORD}
        return str(self.node.call("POST", "/api/v1/auth/login", body)["access_token"])

    def _user(self, name: str) -> str:
        found = self.node.call("GET", f"/api/v1/users?q={name}", None, self.admin)["items"][0]
        self.node.call("PATCH", f"/api/v1/users/{found['id']}", {"password": PASSWORD}, self.admin)
        budget = {"month": {"requests": 10**12, "tokens": 10**15}}
        self.node.call("PUT", f"/api/v1/users/{found['id']}/budgets", budget, self.admin)
        return self._signed_in(name)

    def turn(self, session: str) -> None:
        """One more in a session."""
        body = {"message": "Count for me, please.", "session_id": self.sessions[session]}
        self.node.call("POST", "/api/v1/chat", body, self._owner(session))

    def clear(self) -> None:
        """Let all prompts start afresh, so that they are equally long."""
        for session, session_id in self.sessions.items():
            self.node.call("DELETE", f"/api/v1/sessions/{session_id}/context", None, self._owner(session))

    def _owner(self, session: str) -> str:
        return self.tokens["many" if session == "of many" else "few"]


def _turns(empty: Place, full: Place, rounds: int) -> Iterator[str]:
    kinds: dict[str, Callable[[], None]] = {
        "10 messages, 10 sessions, an empty ledger": lambda: empty.turn("short"),
        "10 messages, 10 sessions": lambda: full.turn("short"),
        "10,000 messages, 10 sessions": lambda: full.turn("long"),
        "10 messages, 100,000 sessions": lambda: full.turn("of many"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    used = dict.fromkeys(kinds, 0.0)
    for _ in range(rounds):
        empty.clear()
        full.clear()
        for name, turn in kinds.items():
            processes = tree((empty if "empty" in name else full).node.pid)
            before = cpu_seconds(processes)
            for _ in range(_TURNS):
                began = time.perf_counter()
                turn()
                seconds[name].append(time.perf_counter() - began)
            used[name] += cpu_seconds(processes) - before
    first = next(iter(kinds))
    yield "Prompts of the same length:\n"
    yield "| a turn in a session of | p50 | best | CPU each | x |\n|---|---|---|---|---|"
    for name, took in seconds.items():
        cpu = used[name] / len(took) * 1000
        ratio = used[name] / used[first] if used[first] else 0
        times = " | ".join(f"{value * 1000:.1f} ms" for value in (statistics.median(took), min(took)))
        yield f"| {name} | {times} | {cpu:.2f} ms | {ratio:.2f} |"


def _lists(place: Place) -> Iterator[str]:
    yield "| list | p50 | CPU each |\n|---|---|---|"
    left, processes = [], tree(place.node.pid)
    for caller, path in [*_documented(place), *_chosen(place)]:
        took, before = [], cpu_seconds(processes)
        for _ in range(_TIMES):
            began = time.perf_counter()
            with place.node.open("GET", path, None, place.tokens[caller]) as response:
                response.read()
            took.append(time.perf_counter() - began)
        if response.status == 200:
            used = (cpu_seconds(processes) - before) / _TIMES
            told = f"{statistics.median(took) * 1000:.1f} ms | {used * 1000:.0f} ms"
            yield f"| `{_shown(path)}` | {told} |"
        else:
            left.append(f"{path} ({response.status})")
    yield f"\nNot read: {', '.join(left)}."


def _documented(place: Place) -> Iterator[tuple[str, str]]:
    """Whatever can be read, as the OpenAPI document has it."""
    with place.node.open("GET", "/api/v1/openapi.json") as response:
        paths = json.loads(response.read())["paths"]
    names = {"session_id": place.sessions["of many"], "conversation_id": place.sessions["of many"]}
    for path, operations in paths.items():
        if path.startswith("/api/v1") and "get" in operations and "stream" not in path and "events" not in path:
            admins = any(part in path for part in ("users", "prices", "routes", "usage", "prompts", "providers"))
            yield "ada" if admins and "chat" not in path else "many", path.format_map(_Known(names))


def _shown(path: str) -> str:
    """Without what differs each time."""
    path = re.sub(r"cursor=\w+", "cursor=...", path.removeprefix("/api/v1"))
    return re.sub(r"(sess|usr|key)_\w{26}", r"\1", path)


class _Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"no-{name}"


def _chosen(place: Place) -> Iterator[tuple[str, str]]:
    """What asks the most of the database."""
    with place.engine.connect() as connection:
        middle = sa.select(SessionEntity.pinned, SessionEntity.updated_at, SessionEntity.id).order_by(
            SessionEntity.updated_at.desc()
        )
        row = connection.execute(middle.where(SessionEntity.pinned.is_(False)).offset(MANY // 2).limit(1)).one()
    yield "many", f"/api/v1/sessions?limit=100&cursor={_cursor(tuple(row))}"
    for text in ("fox", "nowhere to be found"):
        yield "many", f"/api/v1/sessions?q={urllib.parse.quote(text)}"
    long = place.sessions["long"]
    for path in (f"sessions/{long}/messages", f"context/conversations/{long}"):
        yield "few", f"/api/v1/{path}?limit=100"
        yield "few", f"/api/v1/{path}?limit=100&cursor={_cursor((9_800,))}"
    yield "few", f"/api/v1/chat/usage?session_id={long}"
    yield "ada", "/api/v1/keys?all=true&limit=100"
    key = place.node.call("GET", "/api/v1/keys?all=true", None, place.admin)["items"][0]
    for days in (29, 364):
        since = f"since={now().date() - timedelta(days=days)}"
        yield from (("ada", f"/api/v1/usage?{since}&everybody=true&group_by={by}") for by in _GROUPINGS)
        yield "ada", f"/api/v1/usage?{since}&user_id={key['user_id']}&group_by=day,model"
        yield "ada", f"/api/v1/usage?{since}&everybody=true&key_id={key['id']}&group_by=day,model"


def _cursor(key: tuple[Any, ...]) -> str:
    return str(page_of([key, key], 1, lambda row: row).next_cursor)


def _filled(url: str, rows: int) -> sa.Engine:
    """The database, with all that it is to have."""
    ensure_schema(url, MIGRATIONS, migrate=True)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        is_filled = connection.scalar(sa.select(SessionEntity.id).limit(1)) is not None
    if not is_filled:
        fill_sessions(engine)
        if rows:
            fill_ledger(engine, rows)
            _add_up(url)
    return engine


def _add_up(url: str) -> None:
    """What nodes do in the background, at once."""
    unit_of_work = unit_of_work_on(Database(sa.create_engine(url, **engine_options(url, 2))))
    mark, end = datetime.min.replace(tzinfo=UTC), now() - timedelta(minutes=2)
    while mark < end:
        with unit_of_work() as uow:
            mark = uow.usage_sums.add_up(end, most=20_000)
            uow.commit()


@contextlib.contextmanager
def _place(name: str, rows: int, folder: Path, server: DatabaseServer | None, provider_url: str) -> Iterator[Place]:
    (folder / name).mkdir(parents=True, exist_ok=True)
    url = server.migrated_database() if server else f"sqlite:///{folder / name / 'unichat.db'}"
    engine = _filled(url, rows)
    settings = {"DATABASE_URL": url, "OPENAI_BASE_URL": provider_url, "OPENAI_API_KEY": "bench", "MODEL_NAME": MODEL}
    with running_node(folder / name, **_QUIET, **settings) as node:
        yield Place(node, engine)


def main() -> None:
    """Read the command line, fill, measure, and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.stored", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--database", choices=("sqlite", *DATABASE_SERVERS), default="sqlite")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unichat-bench-")))
        server = DATABASE_SERVERS[options.database]() if options.database != "sqlite" else None
        if server is not None:
            stack.callback(server.close)
        provider_url = stack.enter_context(contextlib.closing(Provider())).url
        empty = stack.enter_context(_place("empty", 0, folder, server, provider_url))
        full = stack.enter_context(_place("full", options.rows, folder, server, provider_url))
        print(f"{', '.join(run().values())}; {options.database}, {options.rows:,} rows in the ledger.\n")
        print("\n".join(_turns(empty, full, options.rounds)), "\n", sep="\n", flush=True)
        print("\n".join(_lists(full)))


if __name__ == "__main__":
    main()
