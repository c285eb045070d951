"""Sessions, their messages, and their context."""

from datetime import datetime
from typing import Any

from flask import Response
from flask_openapi import Tag
from pydantic import AliasChoices, Field

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import returns, scoped
from api.message_schemas import ConfigIn, Identifier, MaxTokens, MessageOut, Name, SystemPrompt, Temperature
from api.schemas import ApiModel, Nothing, PageOut, PageQuery, ok
from domain.api_keys import Scope
from services.session_service import SessionSettings

bp = Blueprint(
    "sessions",
    __name__,
    url_prefix="/api/v1/sessions",
    abp_tags=[Tag(name="sessions")],
    abp_security=[{"bearer": []}],
)


class SessionPath(ApiModel):
    """Which session."""

    session_id: Identifier


class SessionIn(ConfigIn):
    """A new session."""

    title: str = Field("", max_length=200)
    provider: Name | None = Field(None, validation_alias=AliasChoices("provider", "ai_provider", "aiProvider"))
    model: Name | None = None


class SessionChanges(ApiModel):
    """What to change; what is left out stays, and null returns a setting to its default."""

    title: str | None = Field(None, min_length=1, max_length=200)
    provider: Name | None = Field(None, validation_alias=AliasChoices("provider", "ai_provider", "aiProvider"))
    model: Name | None = None
    system_prompt: SystemPrompt | None = Field(None, validation_alias=AliasChoices("system_prompt", "systemPrompt"))
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = Field(None, validation_alias=AliasChoices("max_tokens", "maxTokens"))
    pinned: bool | None = None
    archived: bool | None = None

    def changes(self) -> dict[str, Any]:
        """The changes that were sent."""
        sent = self.model_dump(exclude_unset=True)
        never_null = ("title", "pinned", "archived")
        changes = {name: value for name, value in sent.items() if value is not None or name not in never_null}
        if "system_prompt" in changes:
            changes["system_prompt"] = changes["system_prompt"] or ""
        return changes


class SessionOut(ApiModel):
    """A session. Its messages are asked for separately."""

    id: str
    title: str
    provider: str | None
    model: str | None
    system_prompt: str
    temperature: float | None
    max_tokens: int | None
    pinned: bool
    archived: bool
    created_at: datetime
    updated_at: datetime


class SessionsQuery(PageQuery):
    """Which sessions."""

    q: str = Field("", max_length=200, description="Only those with this in their title or messages.")
    archived: bool = Field(False, description="The archived ones instead of the others.")


@bp.get("", **returns(PageOut[SessionOut]))
@scoped(Scope.CHAT)
def list_sessions(query: SessionsQuery) -> Response:
    """Your sessions: pinned ones first, then the latest used."""
    page = services().sessions.page(
        principal(), limit=query.limit, cursor=query.cursor, archived=query.archived, text=query.q.strip()
    )
    return ok(PageOut[SessionOut].of(page))


@bp.post("", **returns(SessionOut, 201))
@scoped(Scope.CHAT)
def create_session(body: SessionIn) -> Response:
    """Open a session."""
    settings = SessionSettings(body.system_prompt, body.temperature, body.max_tokens)
    session = services().sessions.create(
        principal(), title=body.title.strip(), provider=body.provider, model=body.model, settings=settings
    )
    return ok(SessionOut.model_validate(session), 201)


@bp.get("/<session_id>", **returns(SessionOut))
@scoped(Scope.CHAT)
def get_session(path: SessionPath) -> Response:
    """One of your sessions."""
    return ok(SessionOut.model_validate(services().sessions.get(principal(), path.session_id)))


@bp.put("/<session_id>", **returns(SessionOut))
@scoped(Scope.CHAT)
def update_session(path: SessionPath, body: SessionChanges) -> Response:
    """Change a session: its title, who answers and how, pinned, archived."""
    session = services().sessions.update(principal(), path.session_id, body.changes())
    return ok(SessionOut.model_validate(session))


@bp.delete("/<session_id>", **returns(Nothing))
@scoped(Scope.CHAT)
def delete_session(path: SessionPath) -> Response:
    """Delete a session with all its messages; an answer that is running in it is stopped."""
    services().sessions.delete(principal(), path.session_id)
    return ok()


@bp.get("/<session_id>/messages", **returns(PageOut[MessageOut]))
@scoped(Scope.CHAT)
def list_messages(path: SessionPath, query: PageQuery) -> Response:
    """The messages of the chosen branch, oldest first."""
    page = services().sessions.messages(principal(), path.session_id, limit=query.limit, cursor=query.cursor)
    return ok(PageOut[MessageOut].of(page))


@bp.delete("/<session_id>/context", **returns(Nothing))
@scoped(Scope.CHAT)
def clear_context(path: SessionPath) -> Response:
    """Let the next prompt start afresh. The history stays."""
    services().sessions.clear_context(principal(), path.session_id)
    return ok()
