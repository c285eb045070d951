"""Answers over a stateless protocol that are kept: in a session of the client's choice, or for whoever asks again.

They are turns like any other: whoever leaves finds the answer later, and each has its generation and its event log. To
the writers of a protocol they look like a :class:`services.completion_service.Completion`.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import get_args

import msgspec

from domain import events
from domain.chat import ChatRequest, PromptMessage
from domain.deltas import Delta, Finish, ToolCallDelta, ToolOutcome, UsageReport
from domain.errors import (
    Conflict,
    InvalidInput,
    ProviderError,
    Unavailable,
    UnsupportedInput,
    UpstreamCut,
    saved_failure,
)
from domain.generation import FinishReason, GenerationStatus
from domain.identifiers import id_from
from domain.messages import Message, MessageRole, Part, Text, ToolResult
from domain.principal import Principal
from domain.sessions import SessionKind
from domain.usage import Usage
from services.chat_service import Asked, ChatService
from services.completion_service import Completion
from services.completion_tally import CompletionTally
from services.event_stream_service import Item, one_by_one
from services.hidden_turns import HiddenTurn, HiddenTurns
from services.idempotency import Beginning, Begun, Claim, Idempotency
from services.model_choice import ModelChooser
from services.replay import delta_of
from services.session_service import SessionSettings
from services.upstream_handle import UpstreamHandle

_STOP: FinishReason = "stop"
_OURS = "sess_"  # how ids of sessions begin
_FINISHES: tuple[FinishReason, ...] = get_args(FinishReason)


class StoredCompletion:
    """One answer on its way, as its generation's events tell it. Attributes are those of a Completion."""

    def __init__(self, begun: Begun, public_model: str, beginning: Beginning, items: Iterator[Item]) -> None:
        self.begun = begun
        self.id = begun.generation_id
        self.public_model = public_model
        self.created = beginning.created
        self.prompt_tokens = beginning.prompt_tokens
        self.upstream = begun.live.upstream if begun.live else UpstreamHandle()
        self.tally = CompletionTally()
        self.usage: Usage | None = None
        self._deltas = self._read(items)

    def deltas(self) -> Generator[Delta, None, None]:
        """The answer, once. Raises the error that ended it. Who closes it early has left; the answer goes on."""
        return self._deltas

    def close(self) -> None:
        """Nobody reads on."""
        self._deltas.close()

    def _read(self, items: Iterator[Item]) -> Generator[Delta, None, None]:
        calls, ours = 0, None  # of the client's tools; the one of ours whose result comes next
        for item in items:
            if item is None:
                continue  # only a sign of life
            event = _event(item[1])
            if isinstance(event, events.Complete):
                yield from self._end(event.message)
                return
            if isinstance(event, events.Error):
                raise _failure(event.code, event.message)
            delta: Delta | None = delta_of(event) if event is not None else None
            if isinstance(event, events.ToolCall):
                if event.by_server:
                    ours = event
                else:
                    delta, calls = ToolCallDelta(calls, event.id, event.name, event.arguments), calls + 1
            if isinstance(event, events.ToolResult) and ours is not None:
                delta = ToolOutcome(ours.id, ours.name, ours.arguments, event.content)
            if delta is not None:
                self.tally.add(delta)
                yield delta
        raise UpstreamCut("The answer ended before it was complete.")

    def _end(self, message: Message) -> Iterator[Delta]:
        """What is known of an answer only when it is saved. Raises what it failed of."""
        if message.status is GenerationStatus.FAILED:
            raise _failure(message.error_code or "", "The provider failed.")
        if message.status is GenerationStatus.INTERRUPTED:
            raise Unavailable("The answer was interrupted; what there is of it is kept.", message.end_reason)
        if message.usage is not None:
            self.usage = message.usage
            yield self._told(UsageReport(message.usage))
        yield self._told(Finish(next((word for word in _FINISHES if word == message.end_reason), _STOP)))

    def _told(self, delta: Delta) -> Delta:
        self.tally.add(delta)
        return delta


AnyCompletion = Completion | StoredCompletion


class StoredCompletions:
    """Begins them."""

    def __init__(self, chat: ChatService, hidden: HiddenTurns, idempotency: Idempotency, chooser: ModelChooser) -> None:
        self._chat = chat
        self._hidden = hidden
        self._idempotency = idempotency
        self._chooser = chooser

    def in_session(
        self, principal: Principal, session: str, model: str, asked: ChatRequest, claim: Claim | None
    ) -> StoredCompletion:
        """Answer what is new in ``asked`` in a session, whose history stands for whatever else ``asked`` has.

        ``session`` is the id of a session, or a name of the client's own, which stands for one session of its user:
        that is made with its first turn. Raises NotFound, InvalidInput ``no_new_message``, UnsupportedInput, Conflict
        ``session_busy``, and what :meth:`ChatService.send` raises.
        """
        found = self._chooser.find(principal, model)
        neutral, parts = _neutral(asked), new_parts(asked.messages)
        settings = SessionSettings(neutral.system or None, neutral.temperature, neutral.max_tokens)
        wanted = Asked(found.provider, found.model, settings, neutral.options)
        make = not session.startswith(_OURS)
        session_id = _id_for(principal, session) if make else session
        begun = self._chat.send(principal, session_id, parts, wanted, claim, make=make)
        return self._of(principal, begun, model)

    def once(self, principal: Principal, model: str, asked: ChatRequest, claim: Claim) -> StoredCompletion:
        """Answer ``asked``, or give the answer again that the claim stands for. Nothing of the prompt is stored.

        Raises what :meth:`HiddenTurns.begin` and :meth:`Idempotency.once` raise.
        """
        turn = HiddenTurn(SessionKind.COMPLETION, model, _neutral(asked))
        begun = self._idempotency.once(principal, claim, lambda: self._hidden.begin(principal, turn, claim))
        return self._of(principal, begun, model)

    def _of(self, principal: Principal, begun: Begun, model: str) -> StoredCompletion:
        beginning = self._idempotency.beginning(principal, begun)
        return StoredCompletion(begun, model, beginning, one_by_one(self._idempotency.events(principal, begun)))


def new_parts(messages: Sequence[PromptMessage]) -> list[Part]:
    """What a client says that it has not been answered yet: its last messages, and the results of its tools.

    Raises InvalidInput ``no_new_message`` where there is nothing.
    """
    parts: list[Part] = []
    for message in reversed(messages):
        if message.role is MessageRole.ASSISTANT:
            parts = [*(part for part in message.parts if isinstance(part, ToolResult)), *parts]
            break
        if message.role is MessageRole.USER:
            parts = [*message.parts, *parts]
    if not any(not isinstance(part, Text) or part.text.strip() for part in parts):
        raise InvalidInput(
            "The last message has to be the user's, or the result of a tool.", "no_new_message", ("messages",)
        )
    return parts


def _neutral(asked: ChatRequest) -> ChatRequest:
    """The request in words that can be kept. Raises UnsupportedInput for what has no such words."""
    only = asked.native.only if asked.native else {}
    if only:
        message = f"An answer that is kept cannot be asked for {', '.join(only)}."
        raise UnsupportedInput(message, next(iter(only.values())), tuple(only))
    return replace(asked, native=None)


def _id_for(principal: Principal, name: str) -> str:
    """The id that belongs to a client's own name for a session, and to this user."""
    return id_from("sess", hashlib.sha256(f"{principal.user_id}\0{name}".encode()).digest())


def _event(encoded: bytes) -> events.Event | None:
    try:
        event: events.Event = events.decode(encoded)
    except msgspec.MsgspecError:  # another version has written it
        return None
    return event


def _failure(code: str, message: str) -> ProviderError | Conflict:
    if code == events.LOST.code:
        return Conflict(message, code)
    return saved_failure(code, message)
