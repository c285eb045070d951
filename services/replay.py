"""An answer as its event log tells it."""

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from domain import deltas, events
from domain.messages import Part
from services.answer import Answer


def replay(log: Iterable[bytes]) -> list[Part]:
    """The parts of an answer, from its log. Without tool calls: nobody knows whether all of them were there."""
    answer = Answer()
    for encoded in log:
        with suppress(msgspec.MsgspecError):  # another version has written it
            if delta := delta_of(events.decode(encoded)):
                answer.add(delta)
    return answer.parts(complete=False)


def delta_of(event: events.Event) -> deltas.Delta | None:
    """The delta from which an event came; None for those that tell of no piece of the answer (and for tool calls)."""
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
