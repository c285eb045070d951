"""A node whose disk is full: what is there can be read, what runs is kept, and all goes on when there is room again."""

import contextlib
import http.client
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chats import eventually
from tests.conftest import NodeFactory
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import REQUIRED

ANSWER = '[[script {"words": 200, "pace_ms": 10}]]'
LONG = "x" * 20_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB. Skips the test loudly where none can be had; fails where servers are required."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.getuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode != 0:
        message = "NOT TESTED: a full disk needs root, and the right to mount a tmpfs"
        pytest.fail(message) if REQUIRED else pytest.skip(message)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def node(start_node: NodeFactory, provider: ScriptedProvider, disk: Path) -> Node:
    return start_node(
        DATABASE_URL=f"sqlite:///{disk / 'unichat.db'}",
        OPENAI_BASE_URL=provider.openai_url,
        OPENAI_API_KEY="x",
        AUTO_TITLE="false",
        RATE_LIMIT="10000 per minute",
        RATE_LIMIT_CHAT="10000 per minute",
    ).wait_ready()


def fill(disk: Path) -> Path:
    """Leave no room on the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


def send(node: Node, token: str, **headers: str) -> tuple[int, str, str | None]:
    """Status, code and Retry-After of a turn with a long message."""
    with node.open("POST", "/api/v1/chat", {"message": LONG}, token, **headers) as response:
        return response.status, json.loads(response.read()).get("code", ""), response.headers["Retry-After"]


class Reader(threading.Thread):
    """Reads a stream to its end."""

    def __init__(self, stream: http.client.HTTPResponse) -> None:
        super().__init__(daemon=True)
        self.text, self._stream = "", stream
        self.start()

    def run(self) -> None:
        self.text = self._stream.read().decode()


def test_a_full_disk_refuses_new_turns_and_loses_none(node: Node, provider: ScriptedProvider, disk: Path) -> None:
    token = node.set_up()
    keys = map("key {}".format, itertools.count())
    tried: list[dict[str, str]] = []

    def refusal() -> tuple[int, str, str | None] | None:
        tried.append({"Idempotency-Key": next(keys)})
        answer = send(node, token, **tried[-1])
        return None if answer[0] == 200 else answer

    with node.open("POST", "/api/v1/chat/stream", {"message": ANSWER}, token) as stream:
        session_id, generation_id = stream.headers["X-Session-Id"], stream.headers["X-Generation-Id"]
        reader = Reader(stream)
        filler = fill(disk)
        refused = eventually(refusal, seconds=30)
        health, parts = node.get("/readyz")
        said = provider.wait_closed(provider.log()[0]["id"], timeout=30)["text_sent"]
        time.sleep(1)
        running = node.call("GET", f"/api/v1/generations/{generation_id}", token=token)["status"]
        refused_still = send(node, token)
        waits = reader.is_alive()
        filler.unlink()
        reader.join(30)

    assert refused == refused_still == (503, "storage_full", "5")
    assert (running, waits) == ("running", True)
    assert health == 200
    assert json.loads(parts)["data"]["parts"]["storage"].startswith("degraded")
    last = json.loads(reader.text.strip().rpartition("data: ")[2])
    assert (last["type"], last["message"]["status"], last["message"]["content"]) == ("complete", "completed", said)
    assert node.call("GET", f"/api/v1/sessions/{session_id}/messages", token=token)["items"][-1]["content"] == said
    assert send(node, token, **tried[-1])[0] == 200  # the one that was refused
    eventually(lambda: "degraded" not in node.get("/readyz")[1], seconds=20)
    assert "Traceback" not in node.log()
    _check(disk / "unichat.db")


def _check(file: Path) -> None:
    """No page is damaged, and no half of a turn is there."""
    with contextlib.closing(sqlite3.connect(file)) as database:

        def ask(query: str) -> object:
            return database.execute(query).fetchone()[0]

        assert ask("PRAGMA integrity_check") == "ok"
        assert ask("SELECT count(*) FROM messages") == 2 * int(str(ask("SELECT count(*) FROM generations")))
        assert ask("SELECT count(*) FROM generations WHERE status != 'completed'") == 0
        assert ask("SELECT count(*) FROM sessions") == ask("SELECT count(*) FROM generations")
        orphans = "SELECT count(*) FROM claims WHERE generation_id NOT IN (SELECT id FROM generations)"
        assert ask(orphans) == 0
