"""Generations on the real server, with a provider over real HTTP: no answer is lost, and a stop is one."""

import contextlib
import json
import random
import threading
import time
from http.client import HTTPException, HTTPResponse
from typing import Any

import pytest

from tests.conftest import NodeFactory
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider

_CHAT = "/api/v1/chat/stream"


@pytest.fixture
def node(start_node: NodeFactory, provider: ScriptedProvider) -> Node:
    return start_node(
        OPENAI_BASE_URL=provider.openai_url, OPENAI_API_KEY="x", AUTO_TITLE="false", RATE_LIMIT_CHAT="1000 per second"
    ).wait_ready()


def _asking(**script: Any) -> dict[str, str]:
    return {"message": f"hello [[script {json.dumps(script)}]]"}


def _events(response: HTTPResponse) -> list[tuple[int, dict[str, Any]]]:
    frames = [frame.splitlines() for frame in response.read().decode().split("\n\n") if frame.startswith("id:")]
    return [(int(first[4:]), json.loads(second[6:])) for first, second in frames]


def _text(events: list[tuple[int, dict[str, Any]]]) -> str:
    return "".join(event["content"] for _, event in events if event["type"] == "content")


class _Reader(threading.Thread):
    """Streams one answer in the background."""

    def __init__(self, node: Node, token: str, body: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._call = (node, token, body)
        self.begun = threading.Event()
        self.generation_id = ""
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.start()

    def run(self) -> None:
        node, token, body = self._call
        # A server that is killed hangs up in mid-stream.
        with contextlib.suppress(HTTPException, ConnectionError), node.open("POST", _CHAT, body, token) as response:
            self.generation_id = response.headers["X-Generation-Id"]
            self.begun.set()
            self.events = _events(response)


def test_the_answer_is_whole_although_its_client_was_cut_off(node: Node, provider: ScriptedProvider) -> None:
    token = node.set_up()
    with node.open("POST", _CHAT, _asking(words=50, pace_ms=20), token) as response:
        session_id = response.headers["X-Session-Id"]
        response.read(300)

    entry = provider.wait_closed()

    assert entry["end"] == "complete"
    answer = node.call("GET", f"/api/v1/sessions/{session_id}/messages", token=token)["items"][-1]
    for _ in range(100):
        if answer["status"] != "running":
            break
        time.sleep(0.05)
        answer = node.call("GET", f"/api/v1/sessions/{session_id}/messages", token=token)["items"][-1]
    assert answer["status"] == "completed"
    assert answer["content"] == entry["text_sent"]


def test_a_stop_closes_the_providers_socket_and_saves_what_was_sent(node: Node, provider: ScriptedProvider) -> None:
    token = node.set_up()
    moments = random.Random(7)
    for attempt in range(12):
        reader = _Reader(node, token, _asking(words=200, pace_ms=20, first_token_ms=100))
        assert reader.begun.wait(10)
        time.sleep(0 if attempt < 3 else moments.random() * 0.6)

        answer = node.call("POST", "/api/v1/chat/stop", {"generation_id": reader.generation_id}, token)
        answered = time.monotonic()

        assert answer["state"] == "stopped"
        reader.join(10)
        for entry in provider.log():
            assert entry["end"] == "client_closed"
            assert entry["closed_mono"] - answered < 0.5
        sequence, last = reader.events[-1]
        assert [number for number, _ in reader.events] == list(range(1, sequence + 1))
        assert (last["type"], last["message"]["status"]) == ("complete", "stopped")
        assert last["message"]["content"] == _text(reader.events)
        again = node.call("POST", "/api/v1/chat/stop", {"generation_id": reader.generation_id}, token)
        assert again["state"] == "already_finished"
        provider.reset()


def test_a_stream_that_was_cut_anywhere_goes_on_with_the_same_bytes(node: Node) -> None:
    token = node.set_up()
    with node.open("POST", _CHAT, _asking(words=20, pace_ms=5), token) as response:
        generation_id = response.headers["X-Generation-Id"]
        whole = response.read().decode()
    frames = [frame for frame in whole.split("\n\n") if frame.startswith("id:")]

    for seen in range(len(frames) + 1):
        path = f"/api/v1/generations/{generation_id}/events?after={seen}"
        with node.open("GET", path, token=token) as response:
            rest = [frame for frame in response.read().decode().split("\n\n") if frame.startswith("id:")]
        assert rest == frames[seen:]


def test_many_answers_at_once_stay_apart(node: Node) -> None:
    token = node.set_up()
    readers = [
        _Reader(node, token, {"message": f'[[script {{"text": "answer number {n} of many", "pace_ms": 10}}]]'})
        for n in range(15)
    ]
    for reader in readers:
        reader.join(30)

    assert [_text(reader.events) for reader in readers] == [f"answer number {n} of many" for n in range(15)]


def test_a_killed_server_leaves_no_answer_running(start_node: NodeFactory, provider: ScriptedProvider) -> None:
    settings = {"OPENAI_BASE_URL": provider.openai_url, "OPENAI_API_KEY": "x", "AUTO_TITLE": "false"}
    first = start_node(**settings).wait_ready()
    token = first.set_up()
    reader = _Reader(first, token, _asking(words=2000, pace_ms=10))
    assert reader.begun.wait(10)
    time.sleep(2.5)  # long enough for a checkpoint
    first.kill()

    second = start_node(**settings).wait_ready()
    path = f"/api/v1/generations/{reader.generation_id}"
    give_up = time.monotonic() + 40
    while (generation := second.call("GET", path, token=token))["status"] == "running":
        assert time.monotonic() < give_up, generation
        time.sleep(0.5)

    assert (generation["status"], generation["end_reason"]) == ("interrupted", "node_lost")
    messages = second.call("GET", f"/api/v1/sessions/{generation['session_id']}/messages", token=token)["items"]
    assert messages[0]["status"] == "completed"
    assert messages[1]["status"] == "interrupted"
    assert messages[1]["content"]
    assert provider.last()["text_sent"].startswith(messages[1]["content"])
