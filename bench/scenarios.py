"""What is measured of each gateway."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.gateways import MODEL, Gateway
from bench.machine import cores, on_core
from tests.servers import ROOT

_QUESTION = "Count for me, please."
_CLIENTS = 16
_FEW_EVENTS = 5
_RAMP_S = 0.5  # between each 100 streams: that they begin is not what is measured
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long to measure, in seconds, how often, and for how long streams are held open."""

    measure_s: float = 5
    warm_s: float = 2
    rounds: int = 3
    open_s: float = 20
    most_streams: int = 2000

    def with_(self, **given: float | None) -> "Lengths":
        """These, but for what is given."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement. ``native``: of UniChat's own API, which the others do not have.

    One with ``streams`` gets gateways of its own, one after the other: memory that was used before would not count.
    """

    name: str
    title: str
    measure: Callable[[Gateway, Lengths], Figures]
    native: bool = False
    streams: bool = False
    workers: int = 1

    def fits(self, gateway: type[Gateway]) -> bool:
        """Whether this can be measured of such a gateway."""
        if gateway.scenarios and self.name not in gateway.scenarios:
            return False
        return (gateway.native or not self.native) and (gateway.spreads or self.workers == 1)


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
    started, before, beside = time.perf_counter(), gateway.cpu_seconds(), gateway.beside()
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    used, seconds = gateway.cpu_seconds() - before, time.perf_counter() - started
    figures: Figures = json.loads(process.stdout)
    busy = {name: (now - beside[name]) / seconds for name, now in gateway.beside().items()}
    return figures | {
        "gateway_busy": used / seconds,
        "cpu_ms_each": 1000 * used / figures["all_answers"] if figures["all_answers"] else 0.0,
        "beside_busy": {"load": figures["load_busy"], **busy},
    }


def _closed_loop(path: str, body: Figures, clients: int = _CLIENTS) -> Callable[[Gateway, Lengths], Figures]:
    def measure(gateway: Gateway, lengths: Lengths) -> Figures:
        times = ("--seconds", str(lengths.measure_s), "--warm", str(lengths.warm_s))
        return _load(gateway, path, body, "--clients", str(clients), *times)

    return measure


def _open_streams(path: str, streams: int, per_second: int) -> Callable[[Gateway, Lengths], Figures]:
    """Many streams, all open at once for most of their time, and the memory that one takes then."""

    def body_of(question: str) -> Figures:
        return _chat(question, stream=True) if path.startswith("/v1") else {"message": question}

    def measure(gateway: Gateway, lengths: Lengths) -> Figures:
        count = min(streams, lengths.most_streams)
        question = f"pace_ms={1000 // per_second} events={int(lengths.open_s * per_second)}"
        body = body_of(question)
        _load(gateway, path, body_of(f"events={_FEW_EVENTS}"), "--clients", "16", "--warm", "0", "--seconds", "1")
        idle = gateway.memory_mb()  # with all that the first requests load
        with _Peak(gateway) as peak:
            limits = ("--ramp", str(_RAMP_S), "--seconds", "120")
            figures = _load(gateway, path, body, "--once", "--clients", str(count), *limits)
        return figures | {"streams": count, "kb_per_stream": max(0.0, peak.memory_mb - idle) * 1024 / count}

    return measure


class _Peak:
    """The most memory that a gateway took while the block ran."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.memory_mb = 0.0

    def __enter__(self) -> "_Peak":
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

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
    Scenario(
        "open",
        "2,000 streams held open, 5 events per second each",
        _open_streams("/v1/chat/completions", 2000, per_second=5),
        streams=True,
    ),
    Scenario(
        "open-two",
        "1,000 streams held open, 20 events per second each, two workers",
        _open_streams("/v1/chat/completions", 1000, per_second=20),
        streams=True,
        workers=2,
    ),
    Scenario(
        "native-open",
        "UniChat's own API: 2,000 streams held open, 5 events per second each",
        _open_streams("/api/v1/chat/stream", 2000, per_second=5),
        native=True,
        streams=True,
    ),
)
