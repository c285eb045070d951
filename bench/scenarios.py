"""What is measured of each gateway."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.gateways import MODEL, Gateway
from bench.machine import cores, on_core
from tests.servers import ROOT

_QUESTION = "Count for me, please."
_CLIENTS = 16
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long to measure, in seconds, and how many streams to hold open."""

    measure_s: float = 10
    warm_s: float = 3
    streams: int = 2000
    stream_pace_ms: int = 200
    stream_events: int = 60


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement. ``native``: of UniChat's own API, which the others do not have."""

    name: str
    title: str
    measure: Callable[[Gateway, Lengths], Figures]
    native: bool = False


def _load(gateway: Gateway, path: str, body: Figures, *more: str) -> Figures:
    """One run of the load generator, with what the gateway used meanwhile."""
    headers = [part for line in gateway.headers for part in ("--header", line)]
    command = [
        *on_core(cores()[1]),
        sys.executable,
        "-m",
        "bench.load",
        gateway.url + path,
        "--body",
        json.dumps(body),
        *headers,
        *more,
    ]
    started, before = time.perf_counter(), gateway.cpu_seconds()
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    used, seconds = gateway.cpu_seconds() - before, time.perf_counter() - started
    figures: Figures = json.loads(process.stdout)
    return figures | {"gateway_busy": used / seconds, "gateway_cpu_s": used}


def _closed_loop(path: str, body: Figures, clients: int = _CLIENTS) -> Callable[[Gateway, Lengths], Figures]:
    def measure(gateway: Gateway, lengths: Lengths) -> Figures:
        times = ("--seconds", str(lengths.measure_s), "--warm", str(lengths.warm_s))
        return _load(gateway, path, body, "--clients", str(clients), *times)

    return measure


def _open_streams(gateway: Gateway, lengths: Lengths) -> Figures:
    """Many streams at once, each for twelve seconds; the memory that one takes while all are open."""
    pace, events, streams = lengths.stream_pace_ms, lengths.stream_events, lengths.streams
    body = _chat(f"pace_ms={pace} events={events}", stream=True)
    idle = gateway.memory_mb()
    command_line = ("--once", "--clients", str(streams), "--ramp", "0.1", "--seconds", "120")
    peak = _Peak(gateway)
    with peak:
        figures = _load(gateway, "/v1/chat/completions", body, *command_line)
    return figures | {"kb_per_stream": max(0.0, peak.memory_mb - idle) * 1024 / streams}


class _Peak:
    """The most memory that a gateway took while the block ran."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.memory_mb = 0.0

    def __enter__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(1):
            self.memory_mb = max(self.memory_mb, self._gateway.memory_mb())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _chat(question: str = _QUESTION, **more: Any) -> Figures:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}], **more}


SCENARIOS = (
    Scenario("whole", "Whole answers, 16 clients", _closed_loop("/v1/chat/completions", _chat())),
    Scenario(
        "streamed",
        "Streamed answers of 50 events, 16 clients",
        _closed_loop("/v1/chat/completions", _chat(stream=True)),
    ),
    Scenario("one", "Whole answers, one client", _closed_loop("/v1/chat/completions", _chat(), clients=1)),
    Scenario("open", "Streams held open, 5 events per second each", _open_streams),
    Scenario(
        "native",
        "UniChat's own API: stored turns, whole",
        _closed_loop("/api/v1/chat/completion", {"message": _QUESTION}),
        native=True,
    ),
    Scenario(
        "native-streamed",
        "UniChat's own API: stored turns, streamed",
        _closed_loop("/api/v1/chat/stream", {"message": _QUESTION}),
        native=True,
    ),
)
