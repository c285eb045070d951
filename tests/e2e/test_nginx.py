"""Through the proxy of deploy/nginx.conf: streams arrive as they are written, and addresses are the clients' own."""

import contextlib
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import NodeFactory
from tests.node import Node
from tests.proxy import nginx


@contextlib.contextmanager
def behind_nginx(node: Node, folder: Path) -> Iterator[Node]:
    """The node, called through nginx."""
    direct = node.port
    with nginx(folder, direct) as port:
        try:
            node.port, node.url = port, f"http://127.0.0.1:{port}"
            yield node.wait_ready()
        finally:
            node.port = direct


@pytest.fixture
def proxied(start_node: NodeFactory, tmp_path: Path) -> Iterator[Node]:
    with behind_nginx(start_node(TRUSTED_PROXIES=1).wait_ready(), tmp_path) as node:
        yield node


def test_an_answer_streams_through(proxied: Node) -> None:
    token = proxied.set_up()

    with proxied.open("POST", "/api/v1/chat/stream", {"message": "/echo words=10 pace=200"}, token) as response:
        assert response.status == 200
        arrivals = [time.monotonic() for line in response if b'"type":"content"' in line]

    assert len(arrivals) >= 8
    assert arrivals[-1] - arrivals[0] > 1.2
    assert max(later - earlier for earlier, later in pairwise(arrivals)) < 1


def test_the_node_sees_the_clients_address_and_no_invented_one(proxied: Node) -> None:
    request = urllib.request.Request(
        f"{proxied.url}/healthz", headers={"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "mine"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["X-Request-Id"] == "mine"

    # The line is written after the answer has gone out.
    assert proxied.wait_event("request", request_id="mine")["address"] == "127.0.0.1"


def test_metrics_stay_inside(start_node: NodeFactory, tmp_path: Path) -> None:
    node = start_node(METRICS_TOKEN="a-token")
    with node.wait_ready().open("GET", "/metrics", token="a-token") as response:
        assert response.status == 200

    with behind_nginx(node, tmp_path) as proxied, proxied.open("GET", "/metrics", token="a-token") as response:
        assert response.status == 404
