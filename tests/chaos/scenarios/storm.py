"""Everything at once, at random: what a client does, and what goes wrong."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.chaos import nemesis
from tests.chaos.arena import Arena
from tests.chaos.clients import Crowd
from tests.chaos.figures import Figure, counted
from tests.chaos.history import Turn
from tests.node import Node

_TRIES = 60


def storm(arena: Arena, *, seconds: float = 60, clients: int = 20, every_s: float = 4) -> list[Figure]:
    """Kill and freeze workers, restart nodes, take stores away, while clients send, stop, follow and resume."""
    crowd, over, blows = arena.crowd, threading.Event(), list[str]()
    load = [crowd.start(_client(crowd, over)) for _ in range(clients)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(random.uniform(0, every_s))
        blows.append(_strike(arena))
    over.set()
    crowd.wait(load, 180)
    arena.settle()
    evidence = arena.evidence()
    statuses = [row["status"] for row in evidence.generations.values()]
    return [
        *(Figure(f"times: {name}", blows.count(name)) for name in sorted(set(blows))),
        Figure("turns", len(evidence.history.turns)),
        counted("turns that were never taken", [turn for turn in evidence.history.turns if not turn.acknowledged]),
        *(Figure(f"generations {name}", statuses.count(name)) for name in sorted(set(statuses))),
        Figure("reconnections", sum(reading.cuts for reading in evidence.history.readings)),
        counted("broken invariants", arena.violations()),
    ]


async def _client(crowd: Crowd, over: threading.Event) -> None:
    session_id = ""
    while not over.is_set():
        begun: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        cuts = tuple(random.sample(range(30), random.choice([0, 0, 2])))
        words, pace_ms = random.choice([(5, 10), (40, 50), (60, 100)])
        asking = asyncio.ensure_future(
            crowd.ask(words=words, pace_ms=pace_ms, session_id=session_id, cuts=cuts, begun=begun, tries=_TRIES)
        )
        turn = await begun
        way = random.random()
        if turn.acknowledged and way < 0.2:
            await asyncio.sleep(random.uniform(0, 3))
            await crowd.stop(turn.generation_id)
        elif turn.acknowledged and way < 0.4:
            await crowd.follow(turn.generation_id)
        await asking
        session_id = random.choice(["", turn.session_id])


def _strike(arena: Arena) -> str:
    """Let something go wrong for a while; what."""
    node = random.choice(arena.nodes)
    outages: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "a worker frozen": lambda: nemesis.frozen(*node.worker_pids),
        "the database away": lambda: nemesis.away(arena.database),
    }
    if redis := arena.redis:
        outages["Redis away"] = lambda: nemesis.away(redis)
        outages["Redis frozen"] = lambda: nemesis.frozen(redis.process.pid)
    name = random.choice(["a worker killed", "a node restarted", *outages])
    if name == "a worker killed":
        _kill(node)
    elif name == "a node restarted":
        nemesis.replace_node(arena, arena.nodes.index(node))
    else:
        with outages[name]():
            time.sleep(random.uniform(0.5, 14 if "frozen" in name else 4))
    return name


def _kill(node: Node) -> None:
    nemesis.kill_worker(node)
    node.wait_ready()
