"""The server process: its start, its end, and what it says when it cannot."""

import itertools
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import NodeFactory
from tests.node import NodeFailed, running_node
from tests.servers import Servers


def test_a_node_serves_and_says_where(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()

    assert node.get("/healthz")[0] == 200
    assert f"UniChat is ready at http://localhost:{node.port}" in node.log()
    assert "Setup token" in node.log()
    assert "echo" in node.log()


def test_an_answer_goes_out_in_one_piece(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    with socket.create_connection(("127.0.0.1", node.port)) as client:
        for method, body in (("GET", True), ("HEAD", False), ("GET", True)):
            client.sendall(f"{method} /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head, _, rest = client.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert bool(rest) is body


def test_an_idle_node_ends_at_once_and_cleanly(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    with socket.create_connection(("127.0.0.1", node.port)) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")

        started = time.monotonic()
        assert node.terminate() == 0

    assert time.monotonic() - started < 10
    assert "Traceback" not in node.log()


def test_ctrl_c_ends_an_idle_node_at_once_and_cleanly(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()

    started = time.monotonic()
    node.interrupt()

    assert node.wait() == 0
    assert time.monotonic() - started < 10
    assert "Traceback" not in node.log()


def test_an_occupied_port_is_named(start_node: NodeFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        node = start_node(PORT=other.getsockname()[1])

        assert node.wait() != 0
    assert "Connection in use" in node.log()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"WORKERS": "many"}, "WORKERS: "),
        ({"WORKERS": 2}, "WORKERS > 1 needs DATABASE_URL"),
        ({"AI_PROVIDERS_FILE": "missing.toml"}, "AI_PROVIDERS_FILE cannot be read"),
        ({"DATABASE_URL": "mysql://root@127.0.0.1:1/unichat"}, "Check DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://root:secret@127.0.0.1:1/unichat"}, "Check DATABASE_URL"),
        ({"AUTO_MIGRATE": "false"}, "run `python scripts/migrate.py` first"),
        ({"DATA_DIR": "/proc/unichat"}, "/proc/unichat"),
        ({"REGISTRATION": "maybe"}, "REGISTRATION: "),
    ],
)
def test_a_node_that_cannot_start_says_why_and_ends(
    start_node: NodeFactory, settings: dict[str, object], message: str
) -> None:
    node = start_node(**settings)

    with pytest.raises(NodeFailed) as failed:
        node.wait_ready()

    assert failed.value.exit_code not in (0, None)
    assert message in failed.value.log
    assert "Traceback" not in failed.value.log
    assert "secret" not in failed.value.log


def test_a_wrong_provider_is_named_without_its_key(start_node: NodeFactory, tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text('[mine]\nadapter_class = "adapters.nothing.Nothing"\nconfig = {api_key = "sk-secret"}\n')

    node = start_node(AI_PROVIDERS_FILE=file)

    assert node.wait() != 0
    assert "AI_PROVIDERS is not valid" in node.log()
    assert "Traceback" not in node.log()
    assert "sk-secret" not in node.log()


def test_several_workers_share_the_port(start_node: NodeFactory, servers: Servers) -> None:
    node = start_node(DATABASE_URL=servers.database("mariadb").migrated_database(), WORKERS=3).wait_ready()

    assert len(node.worker_pids) == 3
    assert node.terminate() == 0
    assert node.log().count("UniChat is ready") == 1


def test_nodes_that_start_together_on_an_empty_database_all_serve(
    start_node: NodeFactory, empty_database_url: str
) -> None:
    nodes = [start_node(DATABASE_URL=empty_database_url) for _ in range(4)]

    assert [node.wait_ready(60).get("/readyz")[0] for node in nodes] == [200] * 4
    assert sum(len(node.events("schema_migrated")) for node in nodes) == 1


def test_a_worker_that_dies_is_replaced(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    (first,) = node.worker_pids

    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while node.worker_pids in ([], [first]) and time.monotonic() < deadline:
        time.sleep(0.05)
    node.wait_ready()

    assert node.worker_pids != [first]
    assert node.terminate() == 0


def test_a_changed_env_file_reloads_a_node_in_debug_mode(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("LOGGING_LEVEL=ERROR\n")
    with running_node(tmp_path, DEBUG="true") as node:
        before = node.worker_pids
        env_file.write_text("LOGGING_LEVEL=INFO\n")
        changes = itertools.count(int(time.time()) + 10)
        deadline = time.monotonic() + 30
        while node.worker_pids in ([], before) and time.monotonic() < deadline:
            changed_at = next(changes)  # again and again: the reloader tells a change only from what it has seen before
            os.utime(env_file, (changed_at, changed_at))
            time.sleep(0.5)
        node.wait_ready()

        assert node.worker_pids != before
        assert node.wait_event("request", path="/readyz")
