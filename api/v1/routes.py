"""The routes: which public model stands for which targets, and how those stand."""

from typing import Literal

from flask import Response
from flask_openapi import Tag
from pydantic import ConfigDict, Field

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import admin_only, returns
from api.message_schemas import Name, PublicModelName
from api.schemas import ApiModel, Nothing, ok
from domain.routes import MAX_WEIGHT

bp = Blueprint(
    "routes",
    __name__,
    url_prefix="/api/v1/routes",
    abp_tags=[Tag(name="routes")],
    abp_security=[{"bearer": []}],
)

_MOST_TARGETS = 50


class BreakerOut(ApiModel):
    """A circuit breaker. `open`: left alone; `half_open`: the next turn probes; `trial`: a probe was answered."""

    state: Literal["closed", "open", "half_open", "trial"]
    reason: str | None = Field(description="What opened it: 429, unavailable, timeout, garbage or cut.")
    retry_in: float | None = Field(description="Seconds until the next probe.")


class TargetOut(ApiModel):
    """A model at a provider. `configured`: the provider can be called at all."""

    provider: str
    model: str
    order: int
    weight: int
    configured: bool
    breaker: BreakerOut


class RouteOut(ApiModel):
    """A public model and its targets, in their order.

    `source`: `file` (AI_PROVIDERS_FILE; locked) or `admin` (set here). `overrides`: a route of that name was set here,
    and is out of force because the file has one.
    """

    name: str
    targets: list[TargetOut]
    source: Literal["file", "admin"]
    locked: bool
    overrides: bool


class BrokenOut(ApiModel):
    """A target whose breaker is not closed, in a route or not."""

    target: str
    breaker: BreakerOut


class RoutesOut(ApiModel):
    """All routes, and every breaker that is not closed."""

    items: list[RouteOut]
    broken: list[BrokenOut]


class RoutePath(ApiModel):
    """Which route: the public model's name, which may have slashes."""

    public_model: PublicModelName


class TargetIn(ApiModel):
    """A model at a provider. Lower `order` first, as listed without; `weight` shares the turns of one order."""

    model_config = ConfigDict(extra="forbid")

    provider: Name
    model: Name
    weight: int = Field(1, ge=1, le=MAX_WEIGHT)
    order: int | None = Field(None, ge=0, le=1_000_000)


class RouteIn(ApiModel):
    """The targets of a route."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"targets": [{"provider": "local", "model": "large", "weight": 1}]}]}
    )

    targets: list[TargetIn] = Field(min_length=1, max_length=_MOST_TARGETS)


@bp.get("", **returns(RoutesOut))
@admin_only
def list_routes() -> Response:
    """The routes in force with the state of each target, and what else is broken."""
    routes = services().routes
    return ok(
        RoutesOut(
            items=[RouteOut.model_validate(route) for route in routes.all()],
            broken=[BrokenOut.model_validate(one) for one in routes.broken()],
        )
    )


@bp.put("/<path:public_model>", **returns(RouteOut))
@admin_only
def put(path: RoutePath, body: RouteIn) -> Response:
    """Set a route, on all nodes within five seconds. 409 `locked_by_configuration` where the file declares it."""
    targets = [target.model_dump(exclude_none=True) for target in body.targets]
    return ok(RouteOut.model_validate(services().routes.put(principal(), path.public_model, targets)))


@bp.delete("/<path:public_model>", **returns(Nothing))
@admin_only
def delete(path: RoutePath) -> Response:
    """Take a route away. 404 `route_not_found`, 409 `locked_by_configuration`."""
    services().routes.delete(principal(), path.public_model)
    return ok(Nothing())
