"""Dify's chat events as they come over the wire."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urljoin

import msgspec

from adapters.failures import Codes, FailureMap, decode_or_fail
from adapters.sse import ServerEvent
from domain.deltas import Delta, Finish, ImageDelta, ReasoningDelta, Replacement, TextDelta, UpstreamState, UsageReport
from domain.errors import ModelNotFound, ProviderDenied, ProviderRateLimited, ProviderRejected
from domain.usage import Usage


class ConversationGoneError(ProviderRejected):
    """Dify does not know the conversation that we continue: deleted there, or another app's."""


CODES: Codes = {
    "not_found": ConversationGoneError,
    "conversation_not_exists": ConversationGoneError,
    "unauthorized": ProviderDenied,
    "app_unavailable": ProviderDenied,
    "provider_not_initialize": ProviderDenied,
    "provider_quota_exceeded": ProviderDenied,
    "rate_limit_error": ProviderDenied,  # the workspace's quota, not a moment's load
    "too_many_requests": ProviderRateLimited,
    "model_currently_not_support": ModelNotFound,
    "invalid_param": ProviderRejected,
    "bad_request": ProviderRejected,
}


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Metadata(msgspec.Struct):
    usage: _Usage | None = None


class _Outcome(msgspec.Struct):
    status: str = ""
    error: str | None = None


class _Event(msgspec.Struct):
    event: str = ""
    task_id: str | None = None
    conversation_id: str | None = None
    id: str | None = None
    answer: str | None = None
    thought: str | None = None
    type: str | None = None
    belongs_to: str | None = None
    url: str | None = None
    metadata: _Metadata | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")  # of workflow events, where its shape is the event's


_decode = msgspec.json.Decoder(_Event).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode


class DifyAnswer:
    """Reads one streamed answer of a chatbot, agent or chatflow. ``task_id`` is what stops it at Dify."""

    def __init__(self, failures: FailureMap, base_url: str) -> None:
        self.task_id = ""
        self.over = False
        self._failures = failures
        self._base_url = base_url
        self._known_conversation = False
        self._agent_text: list[str] = []
        self._thoughts: dict[str, str] = {}
        self._readers: Mapping[str, Callable[[_Event], Iterator[Delta]]] = {
            "message": self._message,
            "agent_message": self._agent_message,
            "agent_thought": self._agent_thought,
            "message_file": self._message_file,
            "message_replace": self._message_replace,
            "message_end": self._message_end,
            "workflow_finished": self._workflow_finished,
        }

    def deltas(self, events: Iterable[ServerEvent]) -> Iterator[Delta]:
        """The deltas of all events up to the end of the message. Events that are not known are not ours."""
        for server_event in events:
            event: _Event = decode_or_fail(_decode, server_event.data, self._failures)
            self.task_id = event.task_id or self.task_id
            if event.event == "error":
                self.over = True
                raise self._failures.from_event(server_event.data)
            if event.conversation_id and not self._known_conversation:
                self._known_conversation = True
                yield UpstreamState(event.conversation_id)
            if reader := self._readers.get(event.event):
                yield from reader(event)
            if self.over:
                return

    def _message(self, event: _Event) -> Iterator[Delta]:
        """More of the answer; but after an agent's own messages it is the whole answer once more."""
        answer, sent = event.answer or "", "".join(self._agent_text)
        if not answer.startswith(sent):
            yield Replacement(answer)
        elif rest := answer[len(sent) :]:
            yield TextDelta(rest)
        if sent:
            self._agent_text = [answer]

    def _agent_message(self, event: _Event) -> Iterator[Delta]:
        if event.answer:
            self._agent_text.append(event.answer)
            yield TextDelta(event.answer)

    def _agent_thought(self, event: _Event) -> Iterator[Delta]:
        """The new part of a thought: each one is sent again as it grows, and some agents think aloud in the answer."""
        thought, key = event.thought or "", event.id or ""
        before = self._thoughts.get(key, "")
        if thought and thought != before and thought not in "".join(self._agent_text):
            yield ReasoningDelta(thought.removeprefix(before))
        self._thoughts[key] = thought

    def _message_file(self, event: _Event) -> Iterator[Delta]:
        if event.url and event.type == "image" and event.belongs_to != "user":
            yield ImageDelta(urljoin(f"{self._base_url}/", event.url))

    def _message_replace(self, event: _Event) -> Iterator[Delta]:
        yield Replacement(event.answer or "")

    def _message_end(self, event: _Event) -> Iterator[Delta]:
        if usage := event.metadata and event.metadata.usage:
            yield UsageReport(Usage(usage.prompt_tokens, usage.completion_tokens))
        self.over = True
        yield Finish("stop")

    def _workflow_finished(self, event: _Event) -> Iterator[Delta]:
        """A chatflow's own end. It follows the message's, so one that comes before it means that none will."""
        outcome: _Outcome = decode_or_fail(_decode_outcome, event.data, self._failures)
        self.over = True
        if outcome.status == "failed":
            raise self._failures.from_text(outcome.error or "the workflow failed")
        if outcome.status != "stopped":
            yield Finish("stop")
