"""The hot paths, and what is counted of each: per request, per event of a stream, per byte of a long answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.hot_path.counts import PACKAGES
from tests.hot_path.rig import Counts, Rig
from tests.hot_path.stage import Stage
from tests.hot_path.wires import Anthropic, OpenAI, Wire, word

_FEW, _MANY = 3, 13  # events of a stream
_LONG_EVENT, _LONG_ANSWER = 8_000, 40_000  # words of those whose copies are counted
_HELLO = "Count for me, please."
Figures = dict[str, Any]  # a number for each name; of the calls also whose they are
Ask = Callable[[], object]
Prepare = Callable[[Stage, list[str], bool], Ask]  # for an answer of these texts, as events that come alone or not

_ALWAYS = ("statements", "commits", "rollbacks", "provider_sends", "client_sends", "json", "log_lines", "greenlets")
# A server answers when it does, and so calls and switches are not the same each time where there is one.
_SQLITE = ("thread_hops", "switches", "calls")
_SERVERS = ("database_sends", "redis_sends", "redis_commands")


@dataclass(frozen=True)
class HotPath:
    """One way to ask; ``title`` says which."""

    title: str
    prepare: Prepare
    streamed: bool = False

    def measure(self, rig: Rig) -> dict[str, Figures]:
        """The figures of a request, of an event that comes alone, and of one that comes together with others."""
        own = _SERVERS if rig.database else _SQLITE
        few = self._count(rig, _FEW, alone=False)
        figures = {"request": _only((*_ALWAYS, *own), few)}
        if self.streamed:
            calls = () if rig.database else ("calls",)
            many = self._count(rig, _MANY, alone=False)
            figures["event_of_many"] = _only(("json", *calls), _each(few, many))
            few, many = self._count(rig, _FEW), self._count(rig, _MANY)
            names = ("statements", "provider_receives", "client_sends", "json")
            figures["event"] = _only((*names, *(calls or ("redis_sends",))), _each(few, many))
        return figures

    def copies(self, rig: Rig) -> Figures:
        """How often a byte of the answer is written to memory anew on its way."""
        if self.streamed:
            few, many = (self._count(rig, events, words=_LONG_EVENT) for events in (_FEW, _MANY))
            copied, size = many["bytes_copied"] - few["bytes_copied"], (_MANY - _FEW) * _LONG_EVENT
        else:
            short, long = (self._count(rig, 1, words=words) for words in (_LONG_ANSWER, 2 * _LONG_ANSWER))
            copied, size = long["bytes_copied"] - short["bytes_copied"], _LONG_ANSWER
        return {"copies": copied / (size * len(word(0)))}

    def _count(self, rig: Rig, events: int, *, alone: bool = True, words: int = 1) -> Counts:
        texts = [word(number) * words for number in range(events)]
        alone = alone and self.streamed
        return rig.count(lambda: self.prepare(rig.stage, texts, alone), 3 if alone else 5)


def _chat(model: str, wire: Wire, *, streamed: bool) -> Prepare:
    def prepare(stage: Stage, texts: list[str], alone: bool) -> Ask:
        def ask() -> None:
            said = [{"role": "user", "content": _HELLO}]
            stage.ask("/v1/chat/completions", {"model": model, "messages": said, "stream": streamed})
            if streamed:
                stage.answer_in_events(wire, texts, alone=alone)
            else:
                stage.answer_whole(wire, "".join(texts))

        return ask

    return prepare


def _turn(path: str) -> Prepare:
    """A second turn in a session: the first one makes the session, and is not counted."""

    def prepare(stage: Stage, texts: list[str], alone: bool) -> Ask:
        stage.ask("/api/v1/chat/completion", {"message": _HELLO, "provider": "openai", "model": "plain"})
        response = stage.answer_in_events(OpenAI(), [word(0)], alone=False)
        session_id = json.loads(response.partition(b"\r\n\r\n")[2])["data"]["session_id"]

        def ask() -> None:
            stage.ask(path, {"message": _HELLO, "session_id": session_id})
            stage.answer_in_events(OpenAI(), texts, alone=alone)

        return ask

    return prepare


def _each(few: Counts, many: Counts) -> Figures:
    return {name: (many[name] - few[name]) / (_MANY - _FEW) for name in many}


def _only(names: tuple[str, ...], counts: Figures) -> Figures:
    """Those of the counts, and with the calls whose they are."""
    figures = {name: counts[name] for name in names}
    if "calls" in names:
        calls = {package: counts[f"calls {package}"] for package in PACKAGES}
        figures["calls_of"] = {one: round(number) for one, number in calls.items() if round(number) > 0}
    return figures


HOT_PATHS = {
    "whole": HotPath("/v1/chat/completions, whole", _chat("plain", OpenAI(), streamed=False)),
    "streamed": HotPath("/v1/chat/completions, streamed", _chat("plain", OpenAI(), streamed=True), streamed=True),
    "translated": HotPath(
        "/v1/chat/completions, streamed, from a provider that speaks Anthropic's protocol",
        _chat("translated", Anthropic(), streamed=True),
        streamed=True,
    ),
    "turn": HotPath("/api/v1/chat/completion, the second turn of a session", _turn("/api/v1/chat/completion")),
    "turn_streamed": HotPath(
        "/api/v1/chat/stream, the second turn of a session", _turn("/api/v1/chat/stream"), streamed=True
    ),
}
