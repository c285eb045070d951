"""One scrape tells of all workers of a node, and of those that died only what they had counted."""

import contextlib
import http.client
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chats import eventually
from tests.conftest import NodeFactory
from tests.exposition import Figures
from tests.node import Node
from tests.servers import Servers

TOKEN = "a-token-for-prometheus"
CHAT = "/api/v1/chat/stream"
LONG = {"message": "/echo pace=50 words=4000"}
READERS = 8


@pytest.fixture
def node(start_node: NodeFactory, servers: Servers) -> Iterator[Node]:
    server = servers.database("mariadb")
    url = server.migrated_database()
    yield start_node(DATABASE_URL=url, WORKERS=2, METRICS_TOKEN=TOKEN, AUTO_TITLE="false").wait_ready()
    server.drop(url)


def figures(node: Node) -> Figures:
    with node.open("GET", "/metrics", token=TOKEN) as response:
        assert response.status == 200
        return Figures.parse(response.read().decode())


def healthy(node: Node) -> float:
    return figures(node).total("unichat_http_request_seconds_count", route="/healthz")


class _Reader(threading.Thread):
    """Reads a long answer until it ends or breaks off."""

    def __init__(self, node: Node, token: str) -> None:
        super().__init__(daemon=True)
        self._call = (node, token)
        self.began = threading.Event()
        self.start()

    def run(self) -> None:
        node, token = self._call
        with contextlib.suppress(OSError, http.client.HTTPException), node.open("POST", CHAT, LONG, token) as response:
            response.readline()
            self.began.set()
            response.read()


def test_every_worker_tells_of_all(node: Node) -> None:
    for _ in range(40):
        assert node.get("/healthz")[0] == 200

    eventually(lambda: figures(node).value("unichat_workers") == 2)
    for _ in range(10):  # on a new connection each: either worker may be asked
        assert healthy(node) == 40
    assert "Traceback" not in node.log()


def test_a_dead_worker_leaves_its_counts_and_takes_its_gauges(node: Node) -> None:
    for _ in range(40):
        node.get("/healthz")
    token = node.set_up()
    readers = [_Reader(node, token) for _ in range(READERS)]
    assert all(reader.began.wait(20) for reader in readers)
    assert figures(node).value("unichat_http_streams", route=CHAT) == READERS
    eventually(lambda: figures(node).value("unichat_generations_running") == READERS)

    victim = node.worker_pids[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in node.worker_pids and len(node.worker_pids) == 2, 30)

    left = sum(reader.is_alive() for reader in readers)
    eventually(lambda: figures(node).total("unichat_http_streams", route=CHAT) == left)
    eventually(lambda: figures(node).value("unichat_workers") == 2, 30)
    assert healthy(node) == 40
    lost = READERS - left
    eventually(lambda: figures(node).total("unichat_generations_total", end_reason="node_lost") == lost, 40)
    assert figures(node).value("unichat_generations_running") == left
    assert "Traceback" not in node.log()


def test_the_folder_of_the_figures_goes_with_the_node(node: Node) -> None:
    def folders() -> list[Path]:
        places = (Path("/dev/shm"), Path(tempfile.gettempdir()))
        return [found for place in places for found in place.glob(f"unichat-metrics-{node.pid}-*")]

    assert len(folders()) == 1
    assert folders()[0].stat().st_mode & 0o777 == 0o700
    assert node.terminate() == 0
    assert folders() == []


def test_a_reload_keeps_what_was_counted(node: Node) -> None:
    for _ in range(40):
        node.get("/healthz")
    before = node.worker_pids

    node.signal(signal.SIGHUP)
    eventually(lambda: len(node.worker_pids) == 2 and not set(node.worker_pids) & set(before), 30)
    node.wait_ready()

    eventually(lambda: figures(node).value("unichat_workers") == 2)
    assert healthy(node) == 40
    assert node.terminate() == 0
