"""Generations: how they stand, their events from any point on, and the stop."""

from datetime import datetime
from itertools import chain

from flask import Response
from flask_openapi import Tag
from pydantic import Field

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import returns, scoped, streams
from api.message_schemas import Identifier
from api.schemas import ApiModel, QueryModel, ok
from api.sse import event_stream, last_event_id
from api.v1.chat import StopOut
from domain.api_keys import Scope

bp = Blueprint(
    "generations",
    __name__,
    url_prefix="/api/v1/generations",
    abp_tags=[Tag(name="generations")],
    abp_security=[{"bearer": []}],
)


class GenerationPath(ApiModel):
    """Which generation."""

    generation_id: Identifier


class EventsQuery(QueryModel):
    """Where to begin."""

    after: int | None = Field(None, ge=0, le=999_999_999, description="The last id seen; `Last-Event-ID` wins.")


class GenerationOut(ApiModel):
    """One run that produces one assistant message."""

    id: str
    session_id: str
    message_id: str
    status: str
    end_reason: str | None
    error_code: str | None
    error_message: str | None
    provider: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    usage_source: str | None
    created_at: datetime
    first_token_at: datetime | None
    finished_at: datetime | None


@bp.get("/<generation_id>", **returns(GenerationOut))
@scoped(Scope.CHAT)
def get_generation(path: GenerationPath) -> Response:
    """How a generation stands."""
    return ok(GenerationOut.model_validate(services().generations.get(principal(), path.generation_id)))


@bp.get("/<generation_id>/events", **streams("The generation's events, from the asked one on."))
@scoped(Scope.CHAT)
def generation_events(path: GenerationPath, query: EventsQuery) -> Response:
    """Follow a generation, or read it again: by any number of readers, from any point on."""
    stream = services().event_streams.follow(principal(), path.generation_id, last_event_id(query.after))
    return event_stream(chain([()], stream))  # there may be nothing yet


@bp.post("/<generation_id>/stop", **returns(StopOut, 200, 202))
@scoped(Scope.CHAT)
def stop_generation(path: GenerationPath) -> Response:
    """Stop it: 200 with `stopped` once that is true, else 202 with `stopping`."""
    stopped = services().generations.stop(principal(), generation_id=path.generation_id)
    return ok(StopOut.model_validate(stopped), 202 if stopped.state == "stopping" else 200)
