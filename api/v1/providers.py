"""The configured providers."""

from flask import Response
from flask_openapi import Tag

from api.blueprint import Blueprint
from api.context import services
from api.declarations import returns, scoped
from api.schemas import ApiModel, ok
from domain.api_keys import Scope

bp = Blueprint(
    "providers",
    __name__,
    url_prefix="/api/v1/providers",
    abp_tags=[Tag(name="providers")],
    abp_security=[{"bearer": []}],
)


class CapabilitiesOut(ApiModel):
    """What a model can do."""

    vision: bool
    tools: bool
    reasoning: bool


class ModelOut(ApiModel):
    """A model; `context_window` and `max_output` in tokens."""

    name: str
    context_window: int
    max_output: int
    capabilities: CapabilitiesOut


class ProviderOut(ApiModel):
    """A provider that can be called, and its models, the default one first."""

    name: str
    is_default: bool
    models: list[ModelOut]


class ProvidersOut(ApiModel):
    """All of them."""

    items: list[ProviderOut]


@bp.get("", **returns(ProvidersOut))
@scoped(Scope.READ)
def list_providers() -> Response:
    """The providers that can be called, the default one first."""
    return ok(ProvidersOut(items=[ProviderOut.model_validate(one) for one in services().providers.all()]))
