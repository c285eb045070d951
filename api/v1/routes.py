"""The routes: which public model stands for which targets, and how those stand."""

from typing import Literal

from flask import Response
from flask_openapi import APIBlueprint, Tag
from pydantic import Field

from api.context import services
from api.declarations import admin_only, returns
from api.schemas import ApiModel, ok

bp = APIBlueprint(
    "routes",
    __name__,
    url_prefix="/api/v1/routes",
    abp_tags=[Tag(name="routes")],
    abp_security=[{"bearer": []}],
)


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
    """A public model and its targets, in their order."""

    name: str
    targets: list[TargetOut]


class BrokenOut(ApiModel):
    """A target whose breaker is not closed, in a route or not."""

    target: str
    breaker: BreakerOut


class RoutesOut(ApiModel):
    """All routes, and every breaker that is not closed."""

    items: list[RouteOut]
    broken: list[BrokenOut]


@bp.get("", **returns(RoutesOut))
@admin_only
def list_routes() -> Response:
    """The declared routes with the state of each target, and what else is broken."""
    routes = services().routes
    return ok(
        RoutesOut(
            items=[RouteOut.model_validate(route) for route in routes.all()],
            broken=[BrokenOut.model_validate(one) for one in routes.broken()],
        )
    )
