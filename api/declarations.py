"""What a route declares about itself, above its handler; hooks and architecture tests read it back.

A route that declares nothing needs a signed-in caller and falls under the general limit.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

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


def returns(model: type[ApiModel], status: int = 200) -> dict[str, Any]:
    """Keyword arguments for a route decorator: its success answer, for the OpenAPI document."""
    return {"responses": {status: Envelope[model]}}  # type: ignore[valid-type]  # a type made at run time


def streams(description: str) -> dict[str, Any]:
    """Keyword arguments for a route decorator: it answers with server-sent events."""
    content = {"text/event-stream": {"schema": {"type": "string"}}}
    return {"responses": {200: {"description": description, "content": content}}}
