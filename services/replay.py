"""An answer as its event log tells it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from domain import deltas, events
from domain.messages import Part
from services.answer import Answer


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of an answer until its log broke off; ``is_closed`` if its provider was done."""

    parts: list[Part]
    events: int
    is_closed: bool


def replay(log: Iterable[bytes]) -> Replay:
    """Go through a log from its beginning. Tool calls are left out: nobody knows whether all of them were there."""
    answer, count, is_closed = Answer(), 0, False
    for encoded in log:
        count += 1
        with suppress(msgspec.MsgspecError):  # another version has written it
            event = events.decode(encoded)
            is_closed = is_closed or isinstance(event, events.End)
            if delta := _delta(event):
                answer.add(delta)
    return Replay(answer.parts(complete=False), count, is_closed)


def _delta(event: events.Event) -> deltas.Delta | None:
    """The delta from which an event came."""
    match event:
        case events.Content(content=text):
            return deltas.TextDelta(text)
        case events.Reasoning(content=text):
            return deltas.ReasoningDelta(text)
        case events.Replace(content=text, reasoning=reasoning):
            return deltas.Replacement(text, reasoning)
        case events.Image(url=url, alt=alt):
            return deltas.ImageDelta(url, alt)
    return None
