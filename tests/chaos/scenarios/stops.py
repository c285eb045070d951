"""Stops at random moments, and from any node."""

import asyncio
import random

from tests.chaos.arena import Arena
from tests.chaos.clients import Crowd
from tests.chaos.evidence import Evidence
from tests.chaos.figures import Figure, counted
from tests.chaos.history import Turn

_ANSWER_S = 4.0
_SOCKET_S = 0.5  # from the stop's answer until the provider sees its socket closed


def stops(arena: Arena, *, count: int = 100, at_once: int = 10, pace_ms: float = 30) -> list[Figure]:
    """Stop answers, every fifth as soon as it has a name, at the node that writes them and at the other one."""
    crowd = arena.crowd
    for begin in range(0, count, at_once):
        moments = [0.0 if n % 5 == 0 else random.uniform(0, _ANSWER_S * 0.9) for n in range(begin, begin + at_once)]
        crowd.wait([crowd.start(_ask_and_stop(crowd, after_s, pace_ms)) for after_s in moments])
    arena.settle()
    evidence = arena.evidence()
    states = [stop.state for stop in evidence.history.stops]
    stopped, stopping = (_socket_s(evidence, state) for state in ("stopped", "stopping"))
    return [
        Figure("stops", len(states)),
        Figure("answered `stopped`", len(stopped)),
        Figure("answered `stopping`", len(stopping)),
        Figure("without an answer", states.count(""), most=0),
        Figure("socket closed after the answer `stopped`, worst", max(stopped, default=0), most=_SOCKET_S, unit="s"),
        Figure(
            "socket closed after the answer `stopping`, worst",
            max(stopping, default=0),
            most=_SOCKET_S if arena.redis else None,
            unit="s",
        ),
        counted("broken invariants", arena.violations()),
    ]


async def _ask_and_stop(crowd: Crowd, after_s: float, pace_ms: float) -> None:
    words = int(_ANSWER_S * 1000 / pace_ms)
    begun: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
    asking = asyncio.ensure_future(crowd.ask(words=words, pace_ms=pace_ms, begun=begun))
    turn = await begun
    await asyncio.sleep(after_s)
    await crowd.stop(turn.generation_id)
    await asking


def _socket_s(evidence: Evidence, state: str) -> list[float]:
    """Seconds from each answer with this state until the provider saw its socket closed; negative: it was by then."""
    return [
        (entry["closed_mono"] or entry["ended_mono"]) - stop.answered_at
        for stop in evidence.history.stops
        if stop.state == state
        for entry in evidence.calls_of(stop.generation_id) or [{"closed_mono": stop.answered_at}]
    ]
