"""Traces leave a real node, under gevent."""

import pytest

from tests.collector import Collector
from tests.conftest import NodeFactory


def test_a_node_sends_its_traces(start_node: NodeFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds
    with Collector() as collector:
        node = start_node(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, AUTO_TITLE="false").wait_ready()
        token = node.set_up()
        for _ in range(5):
            with node.open("POST", "/api/v1/chat/stream", {"message": "hello"}, token) as response:
                response.read()

        generations = collector.wait(lambda span: span.name == "generation", 5)
        requests = collector.wait(lambda span: span.name == "POST /api/v1/chat/stream", 5)
        assert [span.parent for span in generations] == [span.id for span in requests]
        assert node.terminate() == 0
    assert "Traceback" not in node.log()
