"""Models: which there are for the caller, and those that people register with a provider and a key of their own."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self, cast

from flask import Response
from flask_openapi import Tag
from pydantic import Field, SecretStr

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import admin_only, limited, returns
from api.message_schemas import Identifier, Name
from api.price_schemas import FiguresIn, FiguresOut
from api.schemas import ApiModel, Nothing, ok
from api.v1.providers import CapabilitiesOut
from domain.principal import Role
from services.model_rows import ModelFields
from services.model_service import ModelView

bp = Blueprint(
    "models",
    __name__,
    url_prefix="/api/v1/models",
    abp_tags=[Tag(name="models")],
    abp_security=[{"bearer": []}],
)

Kind = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_-]+$", description="Which protocol: see docs/models.md.")]
BaseUrl = Annotated[str, Field(max_length=500, description="http(s)://host[:port][/path]; empty: the kind's own.")]
Tokens = Annotated[int, Field(ge=1, le=100_000_000)]
Visibility = Literal["everybody", "admins"] | list[Role]


class AbilitiesIn(ApiModel):
    """What the model can do; what is left out comes from the catalogue of known models."""

    vision: bool | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    stream_usage: bool | None = Field(None, description="Sends its token usage at the end of a stream when asked.")


class ModelChangesIn(ApiModel):
    """What to change; what is left out stays, and null resets it. A null `api_key` takes the key away."""

    name: Name | None = Field(None, description="What clients ask for.")
    aliases: list[Name] | None = Field(None, max_length=20, description="Other names for it.")
    kind: Kind | None = None
    base_url: BaseUrl | None = None
    api_key: SecretStr | None = Field(None, max_length=2000, description="Write-only: stored encrypted, never shown.")
    upstream_model: Name | None = Field(None, description="What the provider calls it.")
    context_window: Tokens | None = Field(None, description="In tokens.")
    max_output: Tokens | None = Field(None, description="In tokens.")
    capabilities: AbilitiesIn | None = None
    visibility: Visibility | None = Field(None, description="Of a model of the installation: who may use it.")
    enabled: bool | None = None
    price: FiguresIn | None = None

    def fields(self) -> ModelFields:
        """What was sent, for the service."""
        sent: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        visibility = sent.pop("visibility", None)
        if "visibility" in self.model_fields_set:
            sent["visible_to"] = _stored(visibility or "everybody")
        if self.api_key is not None:
            sent["api_key"] = self.api_key.get_secret_value()
        if self.price is not None:
            sent["price"] = self.price.price()
        if "capabilities" in sent:
            sent["capabilities"] = self.capabilities.model_dump(exclude_none=True) if self.capabilities else {}
        resets = {"aliases": [], "base_url": "", "enabled": True}
        values = {name: resets.get(name) if value is None else value for name, value in sent.items()}
        needed = ("name", "kind", "upstream_model")
        return cast("ModelFields", {name: v for name, v in values.items() if v is not None or name not in needed})


class ModelIn(ModelChangesIn):
    """A model at a provider. Without `upstream_model`, the provider calls it by the same name."""

    name: Name = Field(description="What clients ask for.")
    kind: Kind


class RegisteredPath(ApiModel):
    """One registered model."""

    model_id: Identifier


class RegistrationOut(ApiModel):
    """How a model is reached. Of its key only whether it is there, and the end of it."""

    kind: str
    base_url: str
    key_set: bool
    key_hint: str = Field(description="The last four characters of a key that is long enough; else empty.")
    visibility: Visibility
    enabled: bool
    updated_at: datetime


class ModelItemOut(ApiModel):
    """A model. Figures are null where it cannot be used as it is; `fault` is the code that says why.

    `source`: `environment` or `file` (declared), `route`, `admin` (registered for the installation), `personal`.
    `registration` is there for those who may change it.
    """

    id: str | None
    name: str
    aliases: list[str]
    source: Literal["environment", "file", "route", "admin", "personal"]
    provider: str | None = Field(description="What messages, usage and prices call its provider.")
    upstream_model: str | None
    context_window: int | None
    max_output: int | None
    capabilities: CapabilitiesOut | None
    price: FiguresOut | None
    fault: str | None
    created_at: datetime | None
    registration: RegistrationOut | None

    @classmethod
    def of(cls, view: ModelView) -> Self:
        """It as it goes out."""
        info, own = view.info, view.registration
        return cls(
            id=view.id,
            name=view.name,
            aliases=list(view.aliases),
            source=view.source,
            provider=view.provider,
            upstream_model=info.name if info and view.source != "route" else None,
            context_window=info.context_window if info else None,
            max_output=info.max_output if info else None,
            capabilities=CapabilitiesOut.model_validate(info.capabilities) if info else None,
            price=FiguresOut.told(view.price) if view.price else None,
            fault=view.fault,
            created_at=view.created_at,
            registration=RegistrationOut(
                kind=own.kind,
                base_url=own.base_url,
                key_set=own.key_set,
                key_hint=own.key_hint,
                visibility=_shown(own.visible_to),
                enabled=own.enabled,
                updated_at=own.updated_at,
            )
            if own
            else None,
        )


class ModelsOut(ApiModel):
    """All models that the caller may use, or change."""

    items: list[ModelItemOut]


class TrialOut(ApiModel):
    """How a call went: milliseconds, and on failure the code and message that a turn would have ended with."""

    ok: bool
    latency_ms: float
    first_token_ms: float | None
    error_code: str | None
    message: str | None


@bp.get("", **returns(ModelsOut))
def list_models() -> Response:
    """The models that you may use: your own, routes, the installation's, and the declared ones."""
    return ok(ModelsOut(items=[ModelItemOut.of(view) for view in services().models.all(principal())]))


@bp.post("", **returns(ModelItemOut, 201))
def register(body: ModelIn) -> Response:
    """Register a model of your own, which nobody else sees. 409 `model_name_taken`, 422 `address_not_allowed`."""
    return ok(ModelItemOut.of(services().models.create(principal(), body.fields(), system=False)), 201)


@bp.post("/system", **returns(ModelItemOut, 201))
@admin_only
def register_for_all(body: ModelIn) -> Response:
    """Register a model of the installation, for those who are to see it."""
    return ok(ModelItemOut.of(services().models.create(principal(), body.fields(), system=True)), 201)


@bp.get("/<model_id>", **returns(ModelItemOut))
def get(path: RegisteredPath) -> Response:
    """One registered model."""
    return ok(ModelItemOut.of(services().models.get(principal(), path.model_id)))


@bp.put("/<model_id>", **returns(ModelItemOut))
def change(path: RegisteredPath, body: ModelChangesIn) -> Response:
    """Change a model; where `kind` or `base_url` change, its key has to be given again (422 `key_needed`)."""
    return ok(ModelItemOut.of(services().models.update(principal(), path.model_id, body.fields())))


@bp.delete("/<model_id>", **returns(Nothing))
def delete(path: RegisteredPath) -> Response:
    """Forget a model and its key."""
    services().models.delete(principal(), path.model_id)
    return ok(Nothing())


@bp.post("/<model_id>/test", **returns(TrialOut))
@limited("chat")
def test(path: RegisteredPath) -> Response:
    """Make one short call to a model and tell how it went. It is not booked."""
    return ok(TrialOut.model_validate(services().models.test(principal(), path.model_id)))


def _stored(visibility: Visibility) -> str:
    if visibility == "everybody":
        return visibility
    roles = {Role.ADMIN} if visibility == "admins" else set(visibility)
    return ",".join(sorted(role for role in roles)) or Role.ADMIN.value


def _shown(visible_to: str) -> Visibility:
    if visible_to == "everybody":
        return "everybody"
    return "admins" if visible_to == Role.ADMIN else [Role(name) for name in visible_to.split(",")]
