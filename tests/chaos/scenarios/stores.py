"""Redis and the database go away, and come back."""

import threading
import time
from contextlib import AbstractContextManager

from tests.chaos import nemesis
from tests.chaos.arena import Arena
from tests.chaos.figures import Figure, counted, percentile
from tests.chaos.history import Turn, faults_of_server

_RECOVERY_S = 10.0
_ADDED_S = 0.3  # to a request before the breaker opens
_REFUSAL_S = 3.5


def redis_stopped(arena: Arena, *, seconds: float = 60, clients: int = 8) -> list[Figure]:
    """Redis is shut down, and comes back empty."""
    assert arena.redis
    return _without_redis(arena, nemesis.away(arena.redis), seconds, clients)


def redis_frozen(arena: Arena, *, seconds: float = 60, clients: int = 8) -> list[Figure]:
    """Redis stands still: it takes connections and commands, and answers none."""
    assert arena.redis
    return _without_redis(arena, nemesis.frozen(arena.redis.process.pid), seconds, clients)


def _without_redis(arena: Arena, outage: AbstractContextManager[None], seconds: float, clients: int) -> list[Figure]:
    crowd, over = arena.crowd, threading.Event()
    asking = [crowd.start(crowd.keep_asking(over, words=10, pace_ms=30)) for _ in range(clients)]
    time.sleep(5)
    gone_at = time.monotonic()
    with outage:
        time.sleep(seconds)
    back_at = time.monotonic()
    while any("degraded" in node.get("/readyz")[1] for node in arena.nodes):
        assert time.monotonic() - back_at < 60, arena.nodes[0].get("/readyz")
        time.sleep(0.05)
    recovered_after = time.monotonic() - back_at
    time.sleep(2)
    over.set()
    crowd.wait(asking)
    arena.settle()
    before, meanwhile = (
        [turn.answered_at - turn.asked_at for turn in arena.history.acknowledged() if begin <= turn.asked_at < end]
        for begin, end in ((0, gone_at), (gone_at, back_at))
    )
    return [
        Figure("turns", len(arena.history.turns)),
        Figure("answers 5xx, or none", faults_of_server(arena.history.statuses()), most=0),
        Figure("a turn begins, median before", percentile(before, 0.5), unit="s"),
        Figure("a turn begins, median while Redis is away", percentile(meanwhile, 0.5), unit="s"),
        Figure("added to a turn's begin, worst", max(meanwhile) - percentile(before, 0.5), most=_ADDED_S, unit="s"),
        Figure("all nodes have Redis again", recovered_after, most=_RECOVERY_S, unit="s"),
        counted("broken invariants", arena.violations()),
    ]


def database_stopped(arena: Arena, *, seconds: float = 30, streams: int = 20, pace_ms: float = 100) -> list[Figure]:
    """The database is shut down while answers are written: some end before it is back, some after."""
    crowd = arena.crowd
    lengths = [int(seconds * share * 1000 / pace_ms) for share in (0.5, 1.5)]
    asked = crowd.start_all(crowd.ask(words=lengths[n % 2], pace_ms=pace_ms) for n in range(streams))
    crowd.wait_begun(streams)
    time.sleep(1)
    refused: list[Turn] = []
    with nemesis.away(arena.database):
        back = time.monotonic() + seconds
        while time.monotonic() < back:
            refused += crowd.wait([crowd.start(crowd.ask(words=3, port=node.port)) for node in arena.nodes])
            time.sleep(0.5)
    back_at = time.monotonic()
    while any(node.get("/readyz")[0] != 200 for node in arena.nodes):
        time.sleep(0.05)
    recovered_after = time.monotonic() - back_at
    crowd.wait(asked)
    arena.settle()
    completed = [row for row in arena.evidence().generations.values() if row["status"] == "completed"]
    return [
        Figure("answers under way", streams),
        Figure("of them not saved whole", streams - len(completed), most=0),
        Figure("turns while the database was away", len(refused)),
        counted("not refused with 503 and Retry-After", [turn for turn in refused if not _is_good_refusal(turn)]),
        Figure("refusal, worst", max(turn.answered_at - turn.asked_at for turn in refused), most=_REFUSAL_S, unit="s"),
        Figure("all nodes are ready again", recovered_after, most=_RECOVERY_S, unit="s"),
        counted("broken invariants", arena.violations()),
    ]


def _is_good_refusal(turn: Turn) -> bool:
    return turn.status == 503 and turn.retry_after.isdigit()
