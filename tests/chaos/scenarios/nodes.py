"""Nodes that are killed, frozen, and asked to go."""

import threading
import time

from tests.chaos import nemesis
from tests.chaos.arena import Arena
from tests.chaos.evidence import Evidence
from tests.chaos.figures import Figure, counted, percentile
from tests.proxy import nginx

_TRIES = 50  # a busy node turns some away for the moment
_TERMINAL_S = 15.0  # from a worker's death until its readers have heard of it


def kill9(arena: Arena, *, streams: int = 200, pace_ms: float = 100, after_s: float = 3.0) -> list[Figure]:
    """Kill one of two workers while both write answers."""
    # Those that lose their worker last well beyond the reaping: what ends by itself before that would prove nothing.
    crowd, (doomed, other) = arena.crowd, arena.nodes
    short, long = (int((after_s + seconds) * 1000 / pace_ms) for seconds in (5, 25))
    asked = crowd.start_all(
        crowd.ask(
            words=long if n % 2 else short,
            pace_ms=pace_ms,
            port=doomed.port if n % 2 else other.port,
            tries=_TRIES,
        )
        for n in range(streams)
    )
    crowd.wait_begun(streams)
    time.sleep(after_s)
    killed_at = nemesis.kill_worker(arena.nodes[0])
    crowd.wait(asked, 120)
    arena.settle()
    evidence = arena.evidence()
    orphans = {key for key, row in evidence.generations.items() if row["end_reason"] == "node_lost"}
    ends = [
        reading.frames[-1].at - killed_at
        for reading in arena.history.readings
        if reading.ended and reading.generation_id in orphans
    ]
    lost_s = [_lost_s(evidence, orphan, killed_at, pace_ms / 1000) for orphan in orphans]
    return [
        Figure("answers under way", streams),
        Figure("answers that lost their worker", len(orphans)),
        Figure("text lost, worst", max(lost_s, default=0), most=1 if arena.redis is None else 0.05, unit="s"),
        Figure("text lost, median", percentile(lost_s, 0.5), unit="s"),
        Figure("readers learn the end, worst", max(ends, default=0), most=_TERMINAL_S, unit="s"),
        counted("broken invariants", arena.violations()),
    ]


def _lost_s(evidence: Evidence, generation_id: str, killed_at: float, pace_s: float) -> float:
    """How long before the worker's death the provider had sent the first word that is not saved; 0 if all are."""
    entry = evidence.calls_of(generation_id)[-1]
    saved = len(evidence.messages[evidence.generations[generation_id]["message_id"]]["text"].split())
    if saved >= len(entry["text_sent"].split()):
        return 0.0
    begun_at: float = entry["first_byte_mono"]
    return max(0.0, killed_at - (begun_at + saved * pace_s))


def frozen_worker(arena: Arena, *, streams: int = 30, seconds: float = 20, pace_ms: float = 100) -> list[Figure]:
    """Freeze a worker until others have taken over, and let it go on: it must not undo what they did."""
    words = int((seconds + 10) * 1000 / pace_ms)
    asked = arena.crowd.start_all(arena.crowd.ask(words=words, pace_ms=pace_ms) for _ in range(streams))
    arena.crowd.wait_begun(streams)
    with nemesis.frozen(*arena.nodes[0].worker_pids):
        time.sleep(seconds)
    arena.crowd.wait(asked, 120)
    arena.settle()
    return [Figure("answers under way", streams), counted("broken invariants", arena.violations())]


def sigterm(arena: Arena, *, streams: int = 500, pace_ms: float = 200, graceful_s: float = 30) -> list[Figure]:
    """Ask a node to go while it writes answers, of which every other one is too long to be finished."""
    long, short = (int(seconds * 1000 / pace_ms) for seconds in (graceful_s * 3, (graceful_s - 5) / 2 + streams / 80))
    node = arena.nodes[0]
    crowd, other = arena.crowd, arena.nodes[-1].port
    asked = crowd.start_all(
        crowd.ask(words=short if n % 2 else long, pace_ms=pace_ms, port=node.port, others=[other], tries=_TRIES)
        for n in range(streams)
    )
    crowd.wait_begun(streams)
    live = crowd.under_way()
    started = time.monotonic()
    served_after = nemesis.replace_node(arena, 0)
    code = node.process.wait(graceful_s + 10)
    gone_after = time.monotonic() - started
    arena.crowd.wait(asked, 120)
    arena.settle()
    statuses = [row["status"] for row in arena.evidence().generations.values()]
    return [
        Figure("answers under way", live),
        Figure("finished, some of them before", statuses.count("completed")),
        Figure("interrupted with their partial saved", statuses.count("interrupted")),
        Figure("exit code", code, most=0),
        Figure("the node is gone", gone_after, most=graceful_s, unit="s"),
        Figure("a new one serves at its port", served_after, most=3, unit="s"),
        counted("broken invariants", arena.violations()),
    ]


def rolling_restart(arena: Arena, *, clients: int = 40, pace_ms: float = 50, rounds: int = 2) -> list[Figure]:
    """Restart one node after the other, behind the proxy, while clients send turn after turn. None may fail."""
    crowd, over, restarted_s = arena.crowd, threading.Event(), list[float]()
    with nginx(arena.folder, *(node.port for node in arena.nodes)) as port:
        asking = [crowd.start(crowd.keep_asking(over, words=30, pace_ms=pace_ms, port=port)) for _ in range(clients)]
        time.sleep(3)
        for _ in range(rounds):
            for index in range(len(arena.nodes)):
                old = arena.nodes[index]
                restarted_s.append(nemesis.replace_node(arena, index))
                old.process.wait(60)
                time.sleep(1)
        over.set()
        crowd.wait(asking)
    arena.settle()
    failed = [turn for turn in arena.history.turns if turn.status != 200]
    unfinished = [row for row in arena.evidence().generations.values() if row["status"] != "completed"]
    return [
        Figure("turns", len(arena.history.turns)),
        counted("refused, or without an answer", failed),
        counted("answers that were not finished", unfinished),
        Figure("streams that were cut", sum(reading.cuts for reading in arena.history.readings), most=0),
        Figure("a restarted node serves, worst", max(restarted_s), unit="s"),
        counted("broken invariants", arena.violations()),
    ]
