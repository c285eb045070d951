"""Chat: send, stream, regenerate, edit, choose, stop."""

from itertools import chain
from typing import Literal, Self

import msgspec
from flask import Response
from flask_openapi import Tag
from pydantic import AliasChoices, ConfigDict, Field, model_validator

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import limited, returns, scoped, streams
from api.idempotency import IdempotencyIn
from api.message_schemas import AskIn, Identifier, MessageOut, UsageOut, UserMessageIn
from api.route_headers import note_turn
from api.schemas import ApiModel, QueryModel, ok
from api.sse import event_stream
from domain.api_keys import Scope
from domain.messages import Message
from domain.usage import Usage
from services.idempotency import Begun

bp = Blueprint("chat", __name__, url_prefix="/api/v1/chat", abp_tags=[Tag(name="chat")], abp_security=[{"bearer": []}])

_SESSION = AliasChoices("session_id", "sessionId")
_MESSAGE = AliasChoices("message_id", "messageId")
_GENERATION = AliasChoices("generation_id", "generationId")
_EVENTS = "The events of the generation: `id: <number>` and `data: <Event as JSON>`, the last one is `complete`."


class ChatIn(UserMessageIn):
    """A message, in a session or (without `session_id`) in a new one."""

    session_id: Identifier | None = Field(None, validation_alias=_SESSION)


class StreamableChatIn(ChatIn):
    """The same; `stream` asks for server-sent events."""

    stream: bool = False


class RegenerateIn(AskIn):
    """Which answer to make again: by itself, or the last one of a session."""

    message_id: Identifier | None = Field(None, validation_alias=_MESSAGE)
    session_id: Identifier | None = Field(None, validation_alias=_SESSION)
    stream: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.message_id and not self.session_id:
            raise ValueError("message_id or session_id is needed")
        return self


class EditIn(UserMessageIn):
    """A user message of yours, in other words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message_id": "msg_...", "message": "Hello again!"}]})

    message_id: Identifier = Field(validation_alias=_MESSAGE)
    stream: bool = False


class ChooseIn(ApiModel):
    """The alternative to go on with."""

    message_id: Identifier = Field(validation_alias=_MESSAGE)


class StopIn(ApiModel):
    """What to stop: a generation, by itself, by its message, or by its session."""

    generation_id: Identifier | None = Field(None, validation_alias=_GENERATION)
    message_id: Identifier | None = Field(None, validation_alias=_MESSAGE)
    session_id: Identifier | None = Field(None, validation_alias=_SESSION)


class UsageQuery(QueryModel):
    """Which session."""

    session_id: Identifier = Field(validation_alias=_SESSION)


class ChatOut(ApiModel):
    """The answer, saved."""

    session_id: str
    generation_id: str
    message: MessageOut
    usage: UsageOut | None


class _Answered(msgspec.Struct):
    """A :class:`ChatOut`, of values that are sound: one of these is made for every turn."""

    session_id: str
    generation_id: str
    message: Message
    usage: Usage | None


class StopOut(ApiModel):
    """`stopped`: the provider's socket is closed and the text saved. `stopping`: the owner has been told."""

    generation_id: str
    state: Literal["stopped", "stopping", "already_finished"]


class SessionUsageOut(ApiModel):
    """What a session cost so far, in tokens; the context figures are those of its last turn."""

    session_id: str
    generations: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    context_limit: int | None
    context_remaining: int | None
    source: str | None


@bp.post("", **streams(_EVENTS, instead={200: ChatOut}))
@scoped(Scope.CHAT)
@limited("chat")
def chat(header: IdempotencyIn, body: StreamableChatIn) -> Response:
    """Send a message. The answer comes whole, or as server-sent events with `stream: true`."""
    return respond(_send(header, body), stream=body.stream)


@bp.post("/stream", **streams(_EVENTS))
@scoped(Scope.CHAT)
@limited("chat")
def chat_stream(header: IdempotencyIn, body: ChatIn) -> Response:
    """Send a message; the answer comes as server-sent events."""
    return respond(_send(header, body), stream=True)


@bp.post("/completion", **returns(ChatOut))
@scoped(Scope.CHAT)
@limited("chat")
def chat_completion(header: IdempotencyIn, body: ChatIn) -> Response:
    """Send a message; the answer comes whole."""
    return respond(_send(header, body), stream=False)


@bp.post("/regenerate", **streams(_EVENTS, instead={200: ChatOut}))
@scoped(Scope.CHAT)
@limited("chat")
def regenerate(header: IdempotencyIn, body: RegenerateIn) -> Response:
    """Answer again. The earlier answer stays as an alternative."""
    claim = header.claim(body)
    begun = services().chat.regenerate(principal(), body.message_id, body.session_id, body.asked(), claim)
    return respond(begun, stream=body.stream)


@bp.post("/edit", **streams(_EVENTS, instead={200: ChatOut}))
@scoped(Scope.CHAT)
@limited("chat")
def edit(header: IdempotencyIn, body: EditIn) -> Response:
    """Send a message again in other words. The old one and what followed it stay as an alternative."""
    claim = header.claim(body)
    begun = services().chat.edit(principal(), body.message_id, body.parts(), body.asked(), claim)
    return respond(begun, stream=body.stream)


@bp.post("/choose", **returns(MessageOut))
@scoped(Scope.CHAT)
def choose(body: ChooseIn) -> Response:
    """Go on from another alternative of a message."""
    services().sessions.choose(principal(), body.message_id)
    return ok(MessageOut.of(services().sessions.message(principal(), body.message_id)))


@bp.post("/stop", **returns(StopOut, 200, 202))
@scoped(Scope.CHAT)
def stop(body: StopIn) -> Response:
    """Stop an answer: 200 with `stopped` once that is true, else 202 with `stopping`."""
    stopped = services().generations.stop(
        principal(), generation_id=body.generation_id, message_id=body.message_id, session_id=body.session_id
    )
    return ok(StopOut.model_validate(stopped), 202 if stopped.state == "stopping" else 200)


@bp.get("/usage", **returns(SessionUsageOut))
@scoped(Scope.CHAT)
def usage(query: UsageQuery) -> Response:
    """What a session cost."""
    report = services().generations.usage(principal(), query.session_id)
    total, last = report.total, report.last
    used = ((last.prompt_tokens or 0) + (last.completion_tokens or 0)) if last else 0
    return ok(
        SessionUsageOut(
            session_id=query.session_id,
            generations=total.generations,
            prompt_tokens=total.prompt_tokens,
            completion_tokens=total.completion_tokens,
            total_tokens=total.prompt_tokens + total.completion_tokens,
            context_limit=last.context_limit if last else None,
            context_remaining=max(0, last.context_limit - used) if last else None,
            source=last.usage_source if last else None,
        )
    )


def _send(header: IdempotencyIn, body: ChatIn) -> Begun:
    return services().chat.send(principal(), body.session_id, body.parts(), body.asked(), header.claim(body))


def respond(begun: Begun, *, stream: bool) -> Response:
    """The answer of a turn that has begun."""
    note_turn(begun)
    if stream:
        told = services().chat.events(principal(), begun)
        response = event_stream(told if begun.live else chain([()], told))
        response.headers["X-Generation-Id"] = begun.generation_id
        response.headers["X-Session-Id"] = begun.session_id
        return response
    message = services().chat.answer(principal(), begun)
    return ok(_Answered(begun.session_id, begun.generation_id, message, message.usage))
