"""Readers who are cut off, everywhere."""

import asyncio

from tests.chaos.arena import Arena
from tests.chaos.figures import Figure, counted
from tests.chaos.history import Reading, Turn

_MORE = 4  # cuts beyond the last event, and at the very end


def cuts(arena: Arena, *, words: int = 20, pace_ms: float = 150) -> list[Figure]:
    """Cut a reader off after each event in turn; it resumes at the other node. Two turns in each session.

    A second reader in another tab, which is never cut off, has what the first one should have.
    """
    crowd = arena.crowd
    last = words + _MORE
    points = [*((k,) for k in range(last + 1)), tuple(range(last + 1))]
    pairs = crowd.wait([crowd.start(_two_turns(arena, at, words, pace_ms)) for at in points])
    readings = [both for pair in pairs for both in pair]
    arena.settle()
    return [
        Figure("turns, each with a reader who is cut off and one who is not", len(readings)),
        Figure("cuts", sum(reading.cuts for reading in arena.history.readings)),
        counted("joined texts that differ", [1 for cut, whole in readings if cut.text() != whole.text()]),
        Figure(
            "joined streams that are not byte-equal",
            sum(_bytes(cut) != _bytes(whole) for cut, whole in readings),
            # What one node knows of another's stream without Redis is its end: there the text alone is equal.
            most=0 if arena.redis else None,
        ),
        counted("broken invariants", arena.violations()),
    ]


async def _two_turns(arena: Arena, at: tuple[int, ...], words: int, pace_ms: float) -> list[tuple[Reading, Reading]]:
    first, both = await _turn(arena, at, words, pace_ms, "")
    _, both_again = await _turn(arena, at, words, pace_ms, first.session_id)
    return [both, both_again]


async def _turn(
    arena: Arena, at: tuple[int, ...], words: int, pace_ms: float, session_id: str
) -> tuple[Turn, tuple[Reading, Reading]]:
    crowd, (here, there) = arena.crowd, arena.nodes
    begun: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
    interrupted = crowd.ask(
        words=words,
        pace_ms=pace_ms,
        port=here.port,
        session_id=session_id,
        cuts=at,
        others=[there.port],
        begun=begun,
    )
    asking = asyncio.ensure_future(interrupted)
    turn = await begun
    whole = await crowd.follow(turn.generation_id, port=here.port)
    await asking
    (cut,) = (one for one in arena.history.readings_of(turn.generation_id) if one is not whole)
    return turn, (cut, whole)


def _bytes(reading: Reading) -> list[tuple[int, bytes]]:
    return [(frame.seq, frame.data) for frame in reading.frames]
