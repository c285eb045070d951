"""Redis and the database go away, and come back."""

import asyncio
import threading
import time
from contextlib import AbstractContextManager

from tests.chaos import nemesis
from tests.chaos.arena import Arena
from tests.chaos.figures import Figure, counted, percentile
from tests.chaos.history import Turn, faults_of_server

_RECOVERY_S = 10.0
_ADDED_S = 0.3  # to a request before the breaker opens
_OPENS_S = 2.0  # by then it has
_REFUSAL_S = 3.5


def redis_stopped(arena: Arena, *, seconds: float = 60, clients: int = 8, lead_s: float = 5) -> list[Figure]:
    """Redis is shut down, and comes back empty."""
    assert arena.redis
    return _without_redis(arena, nemesis.away(arena.redis), seconds, clients, lead_s)


def redis_frozen(arena: Arena, *, seconds: float = 60, clients: int = 8, lead_s: float = 5) -> list[Figure]:
    """Redis stands still: it takes connections and commands, and answers none."""
    assert arena.redis
    return _without_redis(arena, nemesis.frozen(arena.redis.process.pid), seconds, clients, lead_s)


def _without_redis(
    arena: Arena, outage: AbstractContextManager[None], seconds: float, clients: int, lead_s: float
) -> list[Figure]:
    crowd, over = arena.crowd, threading.Event()
    spanning = [
        crowd.start(_with_a_second_reader(arena, words=int((lead_s + seconds + 4) * 10))) for _ in range(clients)
    ]
    asking = [crowd.start(crowd.keep_asking(over, words=10, pace_ms=30)) for _ in range(clients)]
    time.sleep(lead_s)
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
    crowd.wait(spanning)
    arena.settle()
    before, at_first, later = (
        [turn.answered_at - turn.asked_at for turn in arena.history.acknowledged() if begin <= turn.asked_at < end]
        for begin, end in ((0, gone_at), (gone_at, gone_at + _OPENS_S), (gone_at + _OPENS_S, back_at))
    )
    added_s = max(at_first, default=0) - percentile(before, 0.5)
    return [
        Figure("turns", len(arena.history.turns)),
        Figure("answers 5xx, or none", faults_of_server(arena.history.statuses()), most=0),
        Figure("a turn begins, median before", percentile(before, 0.5), unit="s"),
        Figure("a turn begins, worst before", max(before, default=0), unit="s"),
        Figure("added to it at first, worst", added_s, most=_ADDED_S, unit="s"),
        Figure("a turn begins, median later", percentile(later, 0.5), unit="s"),
        Figure("a turn begins, worst later", max(later, default=0), unit="s"),
        Figure("all nodes have Redis again", recovered_after, most=_RECOVERY_S, unit="s"),
        counted("broken invariants", arena.violations()),
    ]


async def _with_a_second_reader(arena: Arena, words: int) -> None:
    crowd, (here, there) = arena.crowd, arena.nodes
    begun: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
    asking = asyncio.ensure_future(crowd.ask(words=words, pace_ms=100, port=here.port, begun=begun))
    turn = await begun
    await crowd.follow(turn.generation_id, port=there.port)
    await asking


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
