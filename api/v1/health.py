"""Liveness, readiness, and the state of every part."""

from flask import Response
from flask_openapi import Tag

from api.blueprint import Blueprint
from api.context import services
from api.declarations import public, returns, scoped
from api.errors import error_response
from api.schemas import ApiModel, ok
from domain.api_keys import Scope

bp = Blueprint("health", __name__, abp_tags=[Tag(name="health")])


class LiveOut(ApiModel):
    """The process answers."""

    status: str


class HealthOut(ApiModel):
    """Part -> `ok`, or what is wrong with it; `degraded: ...` where the node serves without."""

    parts: dict[str, str]


@bp.get("/healthz", **returns(LiveOut))
@public
def live() -> Response:
    """Whether the process answers; asks nothing else."""
    return ok(LiveOut(status="ok"))


@bp.get("/readyz", **returns(HealthOut))
@public
def ready() -> Response:
    """Whether this node can serve: 503 names the part that cannot."""
    health = services().health.check()
    if not health.ready:
        faults = "; ".join(f"{part}: {state}" for part, state in health.faults.items())
        return error_response(503, "not_ready", faults, retry_after=5)
    return ok(HealthOut(parts=dict(health.parts)))


@bp.get("/api/v1/settings/health", **returns(HealthOut))
@scoped(Scope.READ)
def settings_health() -> Response:
    """The state of every part, whatever it is."""
    return ok(HealthOut(parts=dict(services().health.check().parts)))
