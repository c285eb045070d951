"""Mixed load for long: what a worker holds must come back to where it was."""

import asyncio
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.clients import Crowd
from tests.chaos.figures import Figure, counted
from tests.chaos.history import History, Turn
from tests.node import Node

_SLOPE_KB = 1024.0  # for 10,000 requests
_QUIET_S = 3.0
_WARM_S = 330.0  # until the logs of the first answers have been forgotten, the workers hold more and more


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the workers hold, once all is quiet, after so many requests."""

    at: float
    requests: int
    rss_kb: int
    files: int
    native_threads: int


def soak(arena: Arena, *, minutes: float = 60, clients: int = 20, round_s: float = 30) -> list[Figure]:
    """Turns, whole and stopped and followed and cut off, and lists, round after round."""
    started, requests, samples, broken = time.monotonic(), 0, list[_Sample](), list[str]()
    end = started + minutes * 60
    while time.monotonic() < end:
        over = threading.Event()
        load = [arena.crowd.start(_mixed(arena.crowd, over)) for _ in range(clients)]
        time.sleep(round_s)
        over.set()
        arena.crowd.wait(load)
        arena.settle()
        broken += arena.violations()
        requests += sum(arena.history.statuses().values()) + sum(reading.cuts for reading in arena.history.readings)
        arena.crowd.history = History()
        arena.provider.reset()
        time.sleep(_QUIET_S)
        samples.append(_sample(arena.nodes, requests))
    warm = [sample for sample in samples if sample.at > started + _WARM_S] or samples
    first, last = warm[0], warm[-1]
    return [
        Figure("requests", requests),
        Figure("rounds", len(samples)),
        Figure("memory of all workers, once warm", first.rss_kb / 1024, unit="MB"),
        Figure("memory of all workers, at last", last.rss_kb / 1024, unit="MB"),
        Figure("growth for 10,000 requests", _slope(warm), most=_SLOPE_KB, unit="KB"),
        Figure("open files and sockets, more at last than then", last.files - first.files, most=5),
        Figure("native threads, more at last than then", last.native_threads - first.native_threads, most=2),
        counted("broken invariants", broken),
    ]


async def _mixed(crowd: Crowd, over: threading.Event) -> None:
    while not over.is_set():
        begun: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        cuts = tuple(random.sample(range(20), random.choice([0, 0, 1, 3])))
        asking = asyncio.ensure_future(crowd.ask(words=20, pace_ms=20, cuts=cuts, begun=begun))
        turn = await begun
        way = random.random()
        if turn.acknowledged and way < 0.2:
            await asyncio.sleep(random.uniform(0, 0.4))
            await crowd.stop(turn.generation_id)
        elif turn.acknowledged and way < 0.4:
            await crowd.follow(turn.generation_id)
        await asking
        await crowd.get("/api/v1/sessions")
        if turn.session_id:
            await crowd.get(f"/api/v1/sessions/{turn.session_id}/messages")


def _sample(nodes: list[Node], requests: int) -> _Sample:
    workers = [Path(f"/proc/{pid}") for node in nodes for pid in node.worker_pids]
    status = "".join((worker / "status").read_text() for worker in workers).splitlines()
    return _Sample(
        time.monotonic(),
        requests,
        sum(int(line.split()[1]) for line in status if line.startswith("VmRSS:")),
        sum(len(list((worker / "fd").iterdir())) for worker in workers),
        sum(int(line.split()[1]) for line in status if line.startswith("Threads:")),
    )


def _slope(samples: list[_Sample]) -> float:
    """KB for 10,000 requests: the line that fits best."""
    if len(samples) < 2:
        return 0.0
    mean_x = sum(one.requests for one in samples) / len(samples)
    mean_y = sum(one.rss_kb for one in samples) / len(samples)
    spread = sum((one.requests - mean_x) ** 2 for one in samples)
    return sum((one.requests - mean_x) * (one.rss_kb - mean_y) for one in samples) / spread * 10_000
