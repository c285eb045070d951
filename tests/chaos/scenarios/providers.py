"""Providers that misbehave: behind a route with two targets, and alone."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.evidence import Evidence
from tests.chaos.figures import Figure, counted
from tests.chaos.history import Turn

_WORDS = 30
SETTINGS = {"PROVIDER_FIRST_TOKEN_MS": 2000, "PROVIDER_MAX_IDLE_MS": 2000, "PROVIDER_TIMEOUT_MS": 60_000}
_DOWN = "down"


@dataclass(frozen=True)
class Misbehaviour:
    """What the first target of a route does. Where it does so ``once``, asking it again gives the whole answer."""

    script: Mapping[str, Any]
    once: bool = False
    request_is_at_fault: bool = False  # nobody else is asked then


CASES = {
    "429-retry-after": Misbehaviour({"status": 429, "retry_after": 1}, once=True),
    "429": Misbehaviour({"status": 429}),
    "500-once": Misbehaviour({"status": 500}, once=True),
    "503": Misbehaviour({"status": 503}),
    "reset": Misbehaviour({"fault": "reset"}),
    "silence": Misbehaviour({"fault": "no_first_byte"}),
    "slow-first-token": Misbehaviour({"first_token_ms": 20_000}),
    "cut": Misbehaviour({"fault": "cut", "fraction": 0.67}),
    "cut-once": Misbehaviour({"fault": "cut", "fraction": 0.67}, once=True),
    "stall": Misbehaviour({"fault": "stall"}),
    "malformed-event-once": Misbehaviour({"fault": "malformed_event"}, once=True),
    "no-end-marker": Misbehaviour({"fault": "no_finish"}),
    "empty-answer": Misbehaviour({"fault": "empty_answer"}),
    "context-too-long": Misbehaviour({"error": "context_length_exceeded", "status": 400}),
    "content-filter": Misbehaviour({"error": "content_filter", "status": 400}, request_is_at_fault=True),
}

ROUTES = {
    f"{name}.{targets}": [f"{name}.{targets}.{letter}" for letter in "ab"[:targets]]
    for name in [*CASES, _DOWN]
    for targets in (1, 2)
}


def misbehave(arena: Arena) -> list[Figure]:
    """Every misbehaviour of the first target, with a second one to go to and without."""
    for name, case in CASES.items():
        for targets in (1, 2):
            script = {"words": _WORDS, "pace_ms": 10} | dict(case.script)
            arena.provider.script(match={"model": f"{name}.{targets}.a"}, times=1 if case.once else -1, **script)
    names = [f"{name}.{targets}" for name in CASES for targets in (2, 1)]
    asked = [arena.crowd.start(arena.crowd.ask(words=_WORDS, pace_ms=10, model=name)) for name in names]
    turns = dict(zip(names, arena.crowd.wait(asked, 110), strict=True))
    arena.settle()
    evidence = arena.evidence()
    table = [_outcome(evidence, name, turn) for name, turn in turns.items()]
    return [*table, counted("broken invariants", arena.violations())]


def _outcome(evidence: Evidence, name: str, turn: Turn) -> Figure:
    """0 where the user got what could be had: the whole answer if any target can give it, else a clear error."""
    case, alone = CASES[name.rpartition(".")[0]], name.endswith(".1")
    row = evidence.generations[turn.generation_id]
    calls = len(evidence.calls_of(turn.generation_id))
    can_be_had = case.once or not (alone or case.request_is_at_fault)
    whole, told = row["status"] == "completed", bool(row["status"] == "failed" and row["error_code"])
    outcome = "whole" if whole else f"{row['status']}: {row['error_code']}"
    return Figure(f"{name}: {outcome}, {calls} requests", int(not (whole if can_be_had else told)), most=0)


def provider_down(arena: Arena, *, seconds: float = 60, clients: int = 4) -> list[Figure]:
    """The first target refuses all connections for a while, and is back."""
    crowd, over = arena.crowd, threading.Event()
    asking = [
        crowd.start(crowd.keep_asking(over, words=10, pace_ms=20, model=f"{_DOWN}.{1 + n % 2}")) for n in range(clients)
    ]
    time.sleep(3)
    for targets in (1, 2):
        arena.provider.script(match={"model": f"{_DOWN}.{targets}.a"}, times=-1, fault="reset", after=0)
    down_at = time.monotonic()
    time.sleep(seconds)
    arena.provider.forget_scripts()
    back_at = time.monotonic()
    while not (answered := _answered_by(arena, f"{_DOWN}.1.a", back_at)):
        assert time.monotonic() - back_at < 120
        time.sleep(0.2)
    over.set()
    crowd.wait(asking)
    arena.settle()
    evidence = arena.evidence()
    alone = [entry["started_mono"] for entry in evidence.upstream if entry["model"] == f"{_DOWN}.1.a"]
    with_two = [row for row in evidence.generations.values() if row["model"].startswith(f"{_DOWN}.2")]
    return [
        Figure("turns on a route with two targets", len(with_two)),
        counted("of them not answered whole", [row for row in with_two if row["status"] != "completed"]),
        Figure("turns on one target alone, refused at once", crowd.history.statuses()[503]),
        Figure("requests to it while it was down", sum(down_at < started < back_at for started in alone)),
        Figure("it answers again", min(answered) - back_at, unit="s"),
        counted("broken invariants", arena.violations()),
    ]


def _answered_by(arena: Arena, model: str, since: float) -> list[float]:
    entries = [entry for entry in arena.provider.log() if entry["model"] == model and entry["started_mono"] > since]
    return [entry["ended_mono"] for entry in entries if entry["end"] == "complete"]
