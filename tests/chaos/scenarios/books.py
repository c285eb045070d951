"""Money under faults."""

import asyncio
import random
import threading
import time

from tests.chaos import nemesis
from tests.chaos.arena import Arena
from tests.chaos.evidence import Row, read_rows
from tests.chaos.figures import Figure, counted
from tests.chaos.history import Turn

_TRIES = 100  # until the faults are over


def budget(arena: Arena, *, turns: int = 200, limit: int = 50, pace_ms: float = 100) -> list[Figure]:
    """Send more turns at once than a budget is for; stop some, leave some, kill a worker, restart the database."""
    user_id = arena.nodes[0].call("GET", "/api/v1/auth/me", token=arena.token)["id"]
    total = {"requests": limit, "tokens": 100_000_000}
    arena.nodes[0].call("PUT", f"/api/v1/users/{user_id}/budgets", {"total": total}, arena.token)
    with _Watch(arena) as watch:
        asked = arena.crowd.start_all((_ask_somehow(arena, pace_ms) for _ in range(turns)), per_second=100)
        nemesis.kill_worker(arena.nodes[0])
        time.sleep(2)
    with nemesis.away(arena.database):
        time.sleep(1)
    arena.crowd.wait(asked)
    arena.settle()
    evidence = arena.evidence()
    (row,) = evidence.budgets
    codes = [turn.code for turn in arena.history.turns if not turn.acknowledged]
    return [
        Figure("turns", len(arena.history.turns)),
        Figure("taken", len(evidence.turns)),
        Figure("refused, the budget does not cover them", codes.count("budget_exceeded")),
        Figure("of which nobody knows", len(codes) - codes.count("budget_exceeded"), most=0),
        Figure("counted as used", row["total_requests_used"], most=limit),
        counted("moments in which more was held and used than there is", watch.beyond(limit)),
        counted("moments with a negative balance", watch.negative()),
        counted("broken invariants", arena.violations()),
    ]


async def _ask_somehow(arena: Arena, pace_ms: float) -> Turn:
    crowd, way = arena.crowd, random.random()
    begun: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
    # Some readers hang up at once, and see later what came of it.
    asking = asyncio.ensure_future(
        crowd.ask(words=30, pace_ms=pace_ms, cuts=(0,) if way > 0.8 else (), begun=begun, tries=_TRIES)
    )
    if way < 0.2:
        await asyncio.wait([asking, begun], return_when=asyncio.FIRST_COMPLETED)
        if begun.done() and begun.result().acknowledged:
            await asyncio.sleep(random.uniform(0, 2))
            await crowd.stop(begun.result().generation_id)
    return await asking


class _Watch:
    """Looks at the budget again and again."""

    def __init__(self, arena: Arena) -> None:
        self._url = arena.database_url
        self._seen: list[Row] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self._seen += read_rows(self._url, "budgets")

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def beyond(self, limit: int) -> list[Row]:
        """When it promised more turns than there are."""
        return [row for row in self._seen if row["requests_held"] + row["total_requests_used"] > limit]

    def negative(self) -> list[Row]:
        """When something was less than nothing."""
        return [row for row in self._seen if any(isinstance(value, int) and value < 0 for value in row.values())]
