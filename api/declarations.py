"""What a route declares about itself, above its handler; hooks and architecture tests read it back.

A route that declares nothing needs a signed-in caller and falls under the general limit.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal, TypeVar, cast

from flask_openapi.models import OPENAPI3_REF_TEMPLATE
from pydantic import BaseModel

from api.schemas import ApiModel, Envelope

View = TypeVar("View", bound=Callable[..., Any])
LimitClass = Literal["general", "chat", "auth"]


def public(view: View) -> View:
    """Anybody may call this route."""
    view.is_public = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def admin_only(view: View) -> View:
    """Only administrators may call this route."""
    view.is_admin_only = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def limited(limit_class: LimitClass) -> Callable[[View], View]:
    """This route falls under another limit than the general one."""

    def declare(view: View) -> View:
        view.limit_class = limit_class  # type: ignore[attr-defined]  # functions take attributes
        return view

    return declare


def accepts_ticket(view: View) -> View:
    """This route admits the holder of a ticket for its session too: an EventSource cannot send headers."""
    view.accepts_ticket = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def returns(model: type[ApiModel], *statuses: int) -> dict[str, Any]:
    """Keyword arguments for a route decorator: its success answer, with status 200 unless said otherwise."""
    return {"responses": dict.fromkeys(statuses or (200,), Envelope[model])}  # type: ignore[valid-type]  # made at run time


def streams(description: str, *, instead: Mapping[int, type[ApiModel]] | None = None) -> dict[str, Any]:
    """Keyword arguments for a route decorator: it answers with server-sent events.

    ``instead`` are the JSON answers that it may give in their place, by status.
    """
    content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    responses = {200: {"description": description, "content": content}}
    for status, model in (instead or {}).items():
        envelope: type[BaseModel] = Envelope[model]  # type: ignore[valid-type]  # made at run time
        schema = envelope.model_json_schema(mode="serialization", ref_template=OPENAPI3_REF_TEMPLATE)
        response = responses.setdefault(status, {"description": HTTPStatus(status).phrase, "content": {}})
        cast("dict[str, Any]", response["content"])["application/json"] = {"schema": schema}
    return {"responses": responses}
