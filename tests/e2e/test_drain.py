"""The end of a node while answers are being written: they are finished, or what there is of them is saved."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.conftest import NodeFactory
from tests.node import Node


@contextlib.contextmanager
def answering(node: Node, message: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of an answer that has begun; the first with text is the next one."""
    with node.open("POST", "/api/v1/chat/stream", {"message": message}, node.set_up()) as response:
        events = (json.loads(line.removeprefix(b"data: ")) for line in response if line.startswith(b"data: "))
        yield itertools.dropwhile(lambda event: event["type"] != "content", events)


def text_of(events: Iterable[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in events if event["type"] == "content")


def saved_answer(start_node: NodeFactory) -> dict[str, Any]:
    """The answer as the next node finds it."""
    node = start_node().wait_ready()
    login = node.call("POST", "/api/v1/auth/login", {"username": "ada", "password": "correct horse battery"})
    token = login["access_token"]
    (session,) = node.call("GET", "/api/v1/sessions", token=token)["items"]
    _, answer = node.call("GET", f"/api/v1/sessions/{session['id']}/messages", token=token)["items"]
    return dict(answer)


def test_a_running_answer_is_finished_first(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    with answering(node, "/echo words=30 pace=50") as events:
        next(events)

        assert node.terminate() == 0

        assert [event["type"] for event in events][-2:] == ["end", "complete"]
    answer = saved_answer(start_node)
    assert (answer["status"], len(answer["content"].split())) == ("completed", 30)


def test_nobody_is_let_in_while_an_answer_is_finished(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    with (
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)) as kept,
        answering(node, "/echo words=30 pace=50") as events,
    ):
        kept.request("GET", "/readyz")
        kept.getresponse().read()
        next(events)

        node.signal(signal.SIGTERM)
        time.sleep(0.5)

        kept.request("GET", "/readyz")
        with kept.getresponse() as response:
            assert (response.status, response.getheader("Connection")) == (503, "close")
        with pytest.raises(ConnectionRefusedError), node.open("GET", "/healthz"):
            pass
        assert node.wait() == 0


def test_what_does_not_end_in_time_is_interrupted_and_saved(start_node: NodeFactory) -> None:
    node = start_node(GRACEFUL_TIMEOUT_S=10).wait_ready()
    with answering(node, "/echo words=5000 pace=50") as events:
        text = next(events)["content"]

        started = time.monotonic()
        assert node.terminate() == 0
        assert 4 < time.monotonic() - started < 9

        text += text_of(events)
    answer = saved_answer(start_node)
    assert (answer["status"], answer["end_reason"]) == ("interrupted", "shutdown")
    assert answer["content"] == text


def test_a_second_ctrl_c_does_not_wait_but_saves(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    with answering(node, "/echo words=5000 pace=50") as events:
        text = next(events)["content"]

        node.interrupt()
        time.sleep(1)
        assert node.process.poll() is None
        started = time.monotonic()
        node.interrupt()

        assert node.wait() == 0
        assert time.monotonic() - started < 2
        text += text_of(events)
    answer = saved_answer(start_node)
    assert (answer["status"], answer["content"]) == ("interrupted", text)
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("order", [(signal.SIGINT, signal.SIGQUIT), (signal.SIGQUIT, signal.SIGINT)])
def test_the_two_signals_of_one_ctrl_c_are_one(start_node: NodeFactory, order: tuple[int, int]) -> None:
    node = start_node().wait_ready()
    (worker,) = node.worker_pids
    with answering(node, "/echo words=40 pace=50") as events:
        next(events)

        for signum in order:
            os.kill(worker, signum)

        assert [event["type"] for event in events][-1] == "complete"


def test_new_workers_take_over_while_the_old_one_finishes(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    (old,) = node.worker_pids
    with answering(node, "/echo words=80 pace=50") as events:
        next(events)

        node.signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while len(node.worker_pids) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert node.call("GET", "/healthz") == {"status": "ok"}

        assert [event["type"] for event in events][-1] == "complete"
    deadline = time.monotonic() + 20
    while old in node.worker_pids and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(node.worker_pids) == 1
