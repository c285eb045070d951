"""Bends the events of an answer as its script's fault says.

A fault is a change to the sequence of events, so it works the same in every protocol, streaming or not: events are
dropped, changed or added, and actions on the socket stand between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from .answer import BROKEN_MARK
from .script import Script
from .wire import Frame, Wire

DEFAULT_HUGE = 10 * 1024 * 1024
NOT_UTF8 = b"\xc3\x28\xff"
GARBAGE = bytes((index * 37 + 11) % 256 for index in range(512))
MALFORMED = b'data: {"id": "broken", "choices": [{"index": 0, "delta": {"content": \n\n'


class Act(NamedTuple):
    """Something done to the socket between events. `data` is sent raw, outside of any body framing."""

    name: Literal["reset", "cut", "half_close", "truncate", "stall", "raw", "end"]
    data: bytes = b""


Step = Frame | Act


def steps(wire: Wire, script: Script) -> Iterator[Step]:
    """The events and actions of one answer, in order. What follows an endless step is never reached."""
    frames = wire.frames() if wire.stream else _halves(wire)
    yield from _inserted(frames, wire, script)


def _halves(wire: Wire) -> Iterator[Frame]:
    # A body in one piece becomes two frames, so that the same faults can strike in its middle.
    body = wire.body()
    middle = len(body) // 2
    yield Frame(body[:middle])
    yield Frame(body[middle:], wire.text(), usage=wire.counts())


def _position(wire: Wire, script: Script) -> int:
    deltas = wire.deltas
    if not wire.stream:
        return 0 if script.after == 0 or script.fault in WHOLE_BODY else 1
    if script.after is not None:
        return min(script.after, deltas)
    fraction = script.fraction if script.fraction is not None else 1.0 if script.fault == "no_finish" else 0.5
    return int(deltas * fraction)


def _inserted(frames: Iterator[Frame], wire: Wire, script: Script) -> Iterator[Step]:
    insert = INSERTS.get(script.fault)
    position = _position(wire, script) if insert else -1
    deltas = 0
    for frame in _filtered(frames, wire, script):
        if insert and deltas == position and frame.kind != "meta":
            yield from insert(wire, script)
            if script.fault in ENDING:
                return
            insert = None
        deltas += frame.kind == "delta"
        yield frame


def _filtered(frames: Iterator[Frame], wire: Wire, script: Script) -> Iterator[Frame]:
    fault = script.fault
    for frame in frames:
        if fault == "no_end_marker" and frame.kind == wire.end_marker:
            continue
        yield frame if fault not in REWRITES else frame._replace(data=REWRITES[fault](frame.data))
        if fault == "duplicate_done" and frame.kind == "done":
            yield frame


def _cut(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("cut")


def _reset(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("reset")


def _half_close(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("half_close")


def _truncated(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("truncate", wire.delta("truncated ").data if wire.stream else b"truncated ")


def _stall(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("stall")


def _keepalive(wire: Wire, script: Script) -> Iterator[Step]:
    while True:
        yield Frame(wire.keepalive if wire.stream else b"\n", kind="comment")


def _garbage(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("raw", GARBAGE)


def _malformed(wire: Wire, script: Script) -> Iterator[Step]:
    yield Frame(MALFORMED if wire.stream else b',{"broken', kind="meta")


def _error(wire: Wire, script: Script) -> Iterator[Step]:
    message = script.message or "The server had an error while processing your request."
    yield Frame(wire.error_event(script.error or "server_error", message), kind="meta")


def _huge(wire: Wire, script: Script) -> Iterator[Step]:
    size = script.size or DEFAULT_HUGE
    yield wire.delta("a" * size) if wire.stream else Frame(b" " * size, kind="meta")


def _endless(wire: Wire, script: Script) -> Iterator[Step]:
    while True:
        yield wire.delta("again ") if wire.stream else Frame(b" " * 64, kind="meta")


def _end(wire: Wire, script: Script) -> Iterator[Step]:
    yield Act("end")


INSERTS: dict[str, Callable[[Wire, Script], Iterator[Step]]] = {
    "cut": _cut,
    "reset": _reset,
    "half_close": _half_close,
    "truncated_chunked": _truncated,
    "stall": _stall,
    "keepalive_comments": _keepalive,
    "garbage": _garbage,
    "malformed_event": _malformed,
    "error_in_200": _error,
    "workflow_failed": _error,
    "no_finish": _end,
    "huge_line": _huge,
    "endless": _endless,
}
WHOLE_BODY = ("error_in_200", "workflow_failed")
ENDING = INSERTS.keys() - {"malformed_event", "huge_line"}
REWRITES: dict[str, Callable[[bytes], bytes]] = {
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "cr": lambda data: data.replace(b"\n", b"\r"),
    "invalid_utf8": lambda data: data.replace(BROKEN_MARK.encode(), NOT_UTF8),
}
