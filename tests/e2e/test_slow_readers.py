"""Clients that ask and do not read: what a provider sends for them does not pile up in the worker."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.machine import cpu_seconds
from tests.chats import eventually
from tests.conftest import NodeFactory
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider

READERS = 3
MB_EACH = 4  # the text itself is kept, as long as the system's buffers take more of it


@pytest.fixture
def node(start_node: NodeFactory, provider: ScriptedProvider) -> Node:
    return start_node(
        OPENAI_BASE_URL=provider.openai_url, OPENAI_API_KEY="x", MODEL_NAME="gpt-4o", AUTO_TITLE="false"
    ).wait_ready()


def memory_mb(pid: int) -> float:
    """The memory that is a process's own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def is_at_rest(pid: int) -> bool:
    """Whether a process has next to nothing to do."""
    before = cpu_seconds([pid])
    time.sleep(0.5)
    return cpu_seconds([pid]) - before < 0.05


@contextlib.contextmanager
def unread(node: Node, key: str) -> Iterator[socket.socket]:
    """An endless answer has begun, and nobody reads on."""
    said = "hello [[script " + json.dumps({"fault": "endless", "pace_ms": 0}) + "]]"
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": said}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", node.port))
        client.sendall(head.encode() + body)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        yield client


def test_an_answer_that_nobody_reads_waits_at_its_provider(node: Node) -> None:
    key = node.call("POST", "/api/v1/keys", {"name": "slow"}, node.set_up())["key"]
    (worker,) = node.worker_pids
    with contextlib.ExitStack() as answers:
        first = answers.enter_context(unread(node, key))
        eventually(lambda: is_at_rest(worker), 60)
        before = memory_mb(worker)
        for _ in range(READERS):
            answers.enter_context(unread(node, key))
        eventually(lambda: is_at_rest(worker), 60)

        assert memory_mb(worker) - before < READERS * MB_EACH
        more = 0
        while more < 1_000_000:  # it goes on for whoever reads on
            more += len(first.recv(65_536)) or pytest.fail("hung up on")
