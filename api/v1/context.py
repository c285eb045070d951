"""Compatibility with the older API, where a session was called a conversation and streams had named events.

These are the same sessions: ``conversation_id`` is the session's id.
"""

from datetime import datetime

from flask import Response, request
from flask_openapi import Tag
from pydantic import Field

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import accepts_ticket, limited, returns, scoped, streams
from api.idempotency import IdempotencyIn
from api.message_schemas import Identifier, MessageOut, UserMessageIn
from api.named_events import NAMED_EVENT, generation_frames, last_place, session_frames
from api.route_headers import note_turn
from api.schemas import ApiModel, Nothing, PageOut, PageQuery, QueryModel, ok
from api.sse import streamed
from api.v1.sessions import SessionIn, SessionPath
from domain.api_keys import Scope
from services.event_stream_service import one_by_one
from services.idempotency import Begun

bp = Blueprint(
    "context",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="context", description="The same sessions and turns, in the words of the older API.")],
)

_EVENTS = "Named events with JSON: `start`, `chunk`s, then `end` or `error`."


class ConversationPath(ApiModel):
    """Which session."""

    conversation_id: Identifier


class MessagesQuery(PageQuery):
    """Which messages."""

    limit: int = Field(100, ge=1, le=100, description="How many messages at most.")


class FeedQuery(QueryModel):
    """Where to begin."""

    last_event_id: str | None = Field(
        None,
        max_length=64,
        description="The id of the last event seen, for a new EventSource, which cannot send `Last-Event-ID`.",
    )


class ConversationOut(ApiModel):
    """A session."""

    conversation_id: str = Field(validation_alias="id")
    title: str
    provider: str | None
    model: str | None
    created_at: datetime
    updated_at: datetime


class ConversationMessagesOut(ConversationOut):
    """A session with its messages, oldest first."""

    messages: list[MessageOut] = Field(default_factory=list)
    next_cursor: str | None = Field(None, description="Ask for it to get the next messages; null at the end.")


class AnswerOut(ApiModel):
    """The text of the answer."""

    session_id: str
    response: str


class BegunOut(ApiModel):
    """A turn that has begun; its events go to those who read the session."""

    session_id: str
    generation_id: str
    message_id: str


@bp.get("/context/conversations", **returns(PageOut[ConversationOut]))
@scoped(Scope.CHAT)
def list_conversations(query: PageQuery) -> Response:
    """Your sessions: pinned ones first, then the latest used."""
    page = services().sessions.page(principal(), limit=query.limit, cursor=query.cursor, archived=False, text="")
    return ok(PageOut[ConversationOut].of(page))


@bp.post("/context/conversations", **returns(ConversationOut, 201))
@scoped(Scope.CHAT)
def create_conversation(body: SessionIn) -> Response:
    """Open a session."""
    session = services().sessions.create(
        principal(), title=body.title.strip(), provider=body.provider, model=body.model, settings=body.settings()
    )
    return ok(ConversationOut.model_validate(session), 201)


@bp.get("/context/conversations/<conversation_id>", **returns(ConversationMessagesOut))
@scoped(Scope.CHAT)
def get_conversation(path: ConversationPath, query: MessagesQuery) -> Response:
    """One of your sessions, with its messages."""
    session = services().sessions.get(principal(), path.conversation_id)
    page = services().sessions.messages(principal(), path.conversation_id, limit=query.limit, cursor=query.cursor)
    answer = ConversationMessagesOut.model_validate(session)
    answer.messages, answer.next_cursor = [MessageOut.of(message) for message in page.items], page.next_cursor
    return ok(answer)


@bp.delete("/context/conversations/<conversation_id>/context", **returns(Nothing))
@scoped(Scope.CHAT)
def clear_conversation(path: ConversationPath) -> Response:
    """Let the next prompt start afresh. The history stays."""
    services().sessions.clear_context(principal(), path.conversation_id)
    return ok()


@bp.post("/chat/<session_id>", **returns(AnswerOut))
@scoped(Scope.CHAT)
@limited("chat")
def send(path: SessionPath, header: IdempotencyIn, body: UserMessageIn) -> Response:
    """Send a message; the answer comes whole."""
    message = services().chat.answer(principal(), _begin(path, header, body))
    return ok(AnswerOut(session_id=message.session_id, response=message.content))


@bp.get("/chat/<session_id>/stream", **streams(f"{_EVENTS} As long as you listen.", event=NAMED_EVENT))
@scoped(Scope.CHAT)
@accepts_ticket
def follow(path: SessionPath, query: FeedQuery) -> Response:
    """Follow a session: the generation that runs now and all that begin later, whoever begins them.

    An event's id is `<generation id>:<number>`. With `Last-Event-ID` (or `last_event_id`, which a new EventSource can
    send) the stream goes on after that event and gives what was missed. A `ticket` from `POST /auth/tickets` is good
    for one connection: when an EventSource reports an error and is closed, take a new ticket and open a new one.
    """
    reader = services().feed.follow(principal(), path.session_id, last_place(query.last_event_id))
    response = streamed(session_frames(reader))
    response.call_on_close(reader.close)
    return response


@bp.post("/chat/<session_id>/stream", **streams(_EVENTS, instead={202: BegunOut}, event=NAMED_EVENT))
@scoped(Scope.CHAT)
@limited("chat")
def begin(path: SessionPath, header: IdempotencyIn, body: UserMessageIn) -> Response:
    """Send a message; the answer comes as named events.

    With `Accept: application/json` it is 202 at once, and the events go to those who follow the session.
    """
    begun = _begin(path, header, body)
    if request.accept_mimetypes.best_match(("text/event-stream", "application/json")) == "application/json":
        return ok(BegunOut.model_validate(begun), 202)
    items = one_by_one(services().chat.events(principal(), begun))
    return streamed(generation_frames(begun.generation_id, items))


def _begin(path: SessionPath, header: IdempotencyIn, body: UserMessageIn) -> Begun:
    claim = header.claim(body)
    return note_turn(services().chat.send(principal(), path.session_id, body.parts(), body.asked(), claim))
