"""The operator's system prompts: what stands in front of every client's, by public model."""

from typing import Annotated, Literal

from flask import Response
from flask_openapi import Tag
from pydantic import ConfigDict, Field, field_validator

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import admin_only, returns
from api.message_schemas import PublicModelName
from api.schemas import ApiModel, Nothing, ok
from domain.server_prompts import MAX_PROMPT_CHARS

bp = Blueprint(
    "prompts",
    __name__,
    url_prefix="/api/v1/prompts",
    abp_tags=[Tag(name="prompts")],
    abp_security=[{"bearer": []}],
)


class PromptPath(ApiModel):
    """Which prompt: the public model's name, which may have slashes."""

    public_model: PublicModelName


class PromptIn(ApiModel):
    """A system prompt."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "You work for Example Ltd. Be brief."}]})

    text: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS)]

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be blank")
        return text


class PromptOut(ApiModel):
    """A public model's prompt.

    `source`: `file` (AI_PROVIDERS_FILE; locked) or `admin` (set here). `overrides`: one was set here for that model
    or route, and is out of force because the file has one.
    """

    public_model: str
    text: str
    source: Literal["file", "admin"]
    locked: bool
    overrides: bool


class PromptsOut(ApiModel):
    """All prompts in force."""

    items: list[PromptOut]


@bp.get("", **returns(PromptsOut))
@admin_only
def list_prompts() -> Response:
    """The prompts in force."""
    views = services().server_prompts.all(principal())
    return ok(PromptsOut(items=[PromptOut.model_validate(view) for view in views]))


@bp.get("/<path:public_model>", **returns(PromptOut))
@admin_only
def get(path: PromptPath) -> Response:
    """One public model's prompt. 404 `prompt_not_found`."""
    return ok(PromptOut.model_validate(services().server_prompts.get(principal(), path.public_model)))


@bp.put("/<path:public_model>", **returns(PromptOut))
@admin_only
def put(path: PromptPath, body: PromptIn) -> Response:
    """Set a prompt, on all nodes within five seconds. 409 `locked_by_configuration` where the file declares it."""
    return ok(PromptOut.model_validate(services().server_prompts.put(principal(), path.public_model, body.text)))


@bp.delete("/<path:public_model>", **returns(Nothing))
@admin_only
def delete(path: PromptPath) -> Response:
    """Take a prompt away. 404 `prompt_not_found`, 409 `locked_by_configuration`."""
    services().server_prompts.delete(principal(), path.public_model)
    return ok(Nothing())
