"""The offline provider: answers without any model, for a first start without a key and for tests.

A message that begins with ``/echo`` directs it, in any order and all optional:

    /echo words=200          an answer of that many words
    /echo pace=50            milliseconds before each word, instead of the configured ``pace_ms``
    /echo reasoning=1        reasoning before the answer
    /echo fail=CODE after=3  after three words, fail with that code of the error tree (``provider_rate_limited``, ...),
                             with ``upstream_cut`` by ending without an end marker
    /echo retry_after=2      the seconds that such a failure asks to wait
    /echo tool=NAME args={}  call that tool, if it was offered, with these arguments (JSON without blanks);
                             calls=2 calls it twice at once

What follows the directives is the message that is quoted. Where a result of a tool came last, that is quoted. Where
JSON is asked for, the answer is the least JSON that fits. Other options are accepted, and change nothing.
"""

import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import cycle, islice

from pydantic import Field

from adapters.base_adapter import AdapterConfig, BaseAdapter, UpstreamCall
from adapters.echo_json import least_json
from adapters.echo_operations import embeddings, pictures
from domain.chat import Capabilities, ChatRequest, ModelInfo, Options
from domain.deltas import Delta, Finish, ReasoningDelta, TextDelta, ToolCallDelta, UsageReport
from domain.errors import ProviderError, ProviderTimeout, UpstreamCut
from domain.messages import Image, MessageRole, ToolResult
from domain.operations import OperationAnswer, OperationRequest
from domain.usage import Usage

_DIRECTIVES = re.compile(r"/echo((?:\s+[a-z_]+=\S*)*)\s*", re.ASCII)
_WORD = re.compile(r"\s*\S+")
_MAX_WORDS = 100_000
_MAX_PACE_MS = 60_000
_MAX_CALLS = 16
_OPTIONS = frozenset(one.name for one in fields(Options))


def _by_code(error: type[ProviderError]) -> dict[str, type[ProviderError]]:
    found = {error.code: error}
    for subclass in error.__subclasses__():
        found |= _by_code(subclass)
    return found


_FAILURES = _by_code(ProviderError)


@dataclass(frozen=True, slots=True)
class _Script:
    """What one answer does. Unreadable directives count as absent: this provider never refuses a message."""

    quoted: str
    words: int | None = None
    pace_ms: float | None = None
    reasoning: bool = False
    fail: str = ""
    after: int = 0
    retry_after: float | None = None
    tool: str = ""
    arguments: str = "{}"
    calls: int = 1

    @classmethod
    def read(cls, message: str) -> "_Script":
        match = _DIRECTIVES.match(message)
        if match is None:
            return cls(message)
        given = dict(pair.split("=", 1) for pair in match[1].split())
        words, pace = _number(given.get("words")), _number(given.get("pace"))
        return cls(
            quoted=message[match.end() :],
            words=None if words is None else int(min(words, _MAX_WORDS)),
            pace_ms=None if pace is None else min(pace, _MAX_PACE_MS),
            reasoning=given.get("reasoning", "0") != "0",
            fail=given.get("fail", "") if given.get("fail", "") in _FAILURES else "",
            after=int(_number(given.get("after")) or 0),
            retry_after=_number(given.get("retry_after")),
            tool=given.get("tool", ""),
            arguments=given.get("args", "{}"),
            calls=int(min(_number(given.get("calls")) or 1, _MAX_CALLS)),
        )


class EchoConfig(AdapterConfig):
    """``pace_ms``: milliseconds before each word. ``enabled`` takes the provider off the list."""

    enabled: bool = True
    pace_ms: float = Field(0, ge=0, le=_MAX_PACE_MS)


class EchoAdapter(BaseAdapter):
    """Says what it is and quotes the user, word by word. The same request always gives the same answer."""

    guardable = True  # it calls nobody
    Config = EchoConfig
    config: EchoConfig
    offers = frozenset(("embeddings", "images"))

    @property
    def enabled(self) -> bool:
        """True unless the configuration says otherwise: it needs no key."""
        return self.config.enabled

    @property
    def models(self) -> Sequence[ModelInfo]:
        """The declared names, or ``echo``; they differ in nothing."""
        named = [model if isinstance(model, str) else model.name for model in self.config.models]
        first = self.config.default_model or (named or ["echo"])[0]
        return [self.model(name) for name in dict.fromkeys([first, *named])]

    def model(self, name: str) -> ModelInfo:
        """Every name is a model here."""
        return ModelInfo(name, 32_768, 8_192, Capabilities(vision=True, tools=True, reasoning=True, general=False))

    @property
    def takes(self) -> frozenset[str]:
        """Everything: see above."""
        return _OPTIONS

    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        script = _Script.read(_last_user_text(request))
        thoughts = _words(_reasoning(request)) if script.reasoning else []
        answer = _limited(_words(_answer(request, script)), script.words, request.max_tokens)
        aborted = threading.Event()
        call.on_abort(aborted.set)
        pace = (self.config.pace_ms if script.pace_ms is None else script.pace_ms) / 1000
        calls = _tool_calls(request, script)
        deltas: list[Delta] = [*map(ReasoningDelta, thoughts), *(calls or map(TextDelta, answer))]
        for position, delta in enumerate(deltas):
            _fail_if_due(script, position)
            if _pause(pace, call, aborted):
                return
            yield delta
        _fail_if_due(script, max(len(deltas), script.after))
        if script.fail != UpstreamCut.code:
            yield UsageReport(Usage(_count(request), len(deltas), reasoning_tokens=len(thoughts)))
            whole = len(answer) < (request.max_tokens or _MAX_WORDS)
            yield Finish("tool_calls" if calls else "stop" if whole else "length")

    def _perform(self, request: OperationRequest, call: UpstreamCall) -> OperationAnswer:  # noqa: ARG002  # needs no time
        return embeddings(request) if request.operation == "embeddings" else pictures(request)


def _pause(seconds: float, call: UpstreamCall, aborted: threading.Event) -> bool:
    """Wait as a slow provider would, within the call's deadlines; true when the call was aborted meanwhile."""
    left, stage = call.remaining()
    if aborted.is_set() or (seconds and aborted.wait(min(seconds, left))):
        return True
    if seconds >= left:
        raise call.timeout(stage)
    return False


def _fail_if_due(script: _Script, position: int) -> None:
    if not script.fail or position < script.after:
        return
    error = _FAILURES[script.fail]
    message = "The echo provider fails as it was told to."
    if issubclass(error, ProviderTimeout):
        raise error(message, "idle" if position else "first_token")
    raise error(message, retry_after=script.retry_after)


def _tool_calls(request: ChatRequest, script: _Script) -> list[Delta]:
    """The calls that the message asks for, each in three fragments."""
    if script.tool not in {tool.name for tool in request.options.tools}:
        return []
    calls: list[Delta] = []
    half = len(script.arguments) // 2
    for index in range(script.calls):
        calls.append(ToolCallDelta(index, f"call_{len(request.messages)}_{index}", script.tool))
        calls += (ToolCallDelta(index, arguments=piece) for piece in (script.arguments[:half], script.arguments[half:]))
    return calls


def _answer(request: ChatRequest, script: _Script) -> str:
    wanted = request.options.response_format
    if wanted is not None and wanted.kind != "text":
        return json.dumps(least_json(wanted.schema or {"type": "object"}), ensure_ascii=False)
    pictures = sum(isinstance(part, Image) for message in request.messages for part in message.parts)
    seen = f" (and {pictures} picture{'s' if pictures > 1 else ''})" if pictures else ""
    said = f"You wrote{seen}: {script.quoted}" if script.quoted or seen else "You wrote nothing that could be quoted."
    return f"This is UniChat's offline echo provider; no model was asked. {said}"


def _reasoning(request: ChatRequest) -> str:
    return f"There is nothing to think about: {len(request.messages)} message(s) came in, the last one is quoted."


def _last_user_text(request: ChatRequest) -> str:
    last = request.messages[-1].parts if request.messages else ()
    if results := [part for part in last if isinstance(part, ToolResult)]:
        return "".join(result.content for result in results)
    texts = (message.text for message in reversed(request.messages) if message.role is MessageRole.USER)
    return next(texts, "")


def _words(text: str) -> list[str]:
    """The text in pieces of one word with the space before it; together they are the text again."""
    return _WORD.findall(text)


def _limited(words: list[str], wanted: int | None, limit: int | None) -> list[str]:
    if wanted is not None:
        joined = [words[0] if words[0][0].isspace() else f" {words[0]}", *words[1:]]
        words = [*words, *islice(cycle(joined), max(0, wanted - len(words)))][:wanted]
    return words[:limit]


def _count(request: ChatRequest) -> int:
    """Prompt tokens, where a token is a word."""
    texts: Iterable[str] = [request.system, *(message.text for message in request.messages)]
    return sum(len(_words(text)) for text in texts)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
