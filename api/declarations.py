"""What a route declares about itself, above its handler; hooks and architecture tests read it back.

A route that declares nothing needs a signed-in caller, or an API key that may manage; and it falls under the general
limit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from api.schemas import ApiModel
from domain.api_keys import Scope

View = TypeVar("View", bound=Callable[..., Any])
LimitClass = Literal["general", "chat", "gateway", "auth"]
STREAM = "x-stream"  # how a route's event stream is handed to api.openapi
NATIVE_EVENT = {
    "type": "object",
    "required": ["id", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol of others: where it is documented, what its failures look like, and whether this route streams too."""

    docs: str
    error: type[msgspec.Struct]
    streams: bool = False


def speaks(protocol: Protocol) -> Callable[[View], View]:
    """Let this route speak the words of others: no answer or error is in our envelope, and it reads its body itself."""

    def declare(view: View) -> View:
        view.protocol = protocol  # type: ignore[attr-defined]  # functions take attributes
        return view

    return declare


def public(view: View) -> View:
    """Anybody may call this route."""
    view.is_public = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def admin_only(view: View) -> View:
    """Only administrators may call this route."""
    view.is_admin_only = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def for_metrics(view: View) -> View:
    """Only who has the token for metrics may call this route: no user, and no administrator either."""
    view.is_for_metrics = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def partly_admin(view: View) -> View:
    """Only administrators may ask this route for some of what it takes; the service refuses others."""
    view.is_partly_admin = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def limited(limit_class: LimitClass) -> Callable[[View], View]:
    """Put this route under another limit than the general one."""

    def declare(view: View) -> View:
        view.limit_class = limit_class  # type: ignore[attr-defined]  # functions take attributes
        return view

    return declare


def scoped(scope: Scope) -> Callable[[View], View]:
    """Let API keys with ``scope`` call this route. Under ``/v1`` that is GATEWAY, elsewhere MANAGE, unless declared."""

    def declare(view: View) -> View:
        view.scope = scope  # type: ignore[attr-defined]  # functions take attributes
        return view

    return declare


def any_scope(view: View) -> View:
    """Let every API key call this route."""
    view.scope = None  # type: ignore[attr-defined]  # functions take attributes
    return view


def scope_of(view: Callable[..., Any], path: str) -> Scope | None:
    """What an API key needs to call the route; None where every key may."""
    usual = Scope.GATEWAY if path.startswith("/v1/") else Scope.MANAGE
    return getattr(view, "scope", usual)


def accepts_ticket(view: View) -> View:
    """Let the holder of a ticket for its session call this route too: an EventSource cannot send headers."""
    view.accepts_ticket = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def returns(model: type[ApiModel], *statuses: int) -> dict[str, Any]:
    """Keyword arguments for a route decorator: its success answer, with status 200 unless said otherwise."""
    return {"responses": dict.fromkeys(statuses or (200,), model)}


def streams(
    description: str, *, instead: Mapping[int, type[ApiModel]] | None = None, event: Mapping[str, Any] = NATIVE_EVENT
) -> dict[str, Any]:
    """Keyword arguments for a route decorator: it answers with server-sent events.

    ``instead`` are the JSON answers that it may give in their place, by status; ``event`` is the schema of one event.
    """
    return {
        "responses": dict(instead or {}),
        "openapi_extensions": {STREAM: {"description": description, "schema": event}},
    }
