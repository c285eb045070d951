"""The first start: whether this installation is set up, and setting it up."""

from flask import Response
from flask_openapi import Tag
from pydantic import Field, SecretStr

from api.blueprint import Blueprint
from api.context import client_address, services
from api.declarations import limited, public, returns
from api.key_schemas import NewKeyOut
from api.schemas import ApiModel, ok
from api.tokens import TokensOut, mint

bp = Blueprint("setup", __name__, url_prefix="/api/v1/setup", abp_tags=[Tag(name="setup")])


class SetupStateOut(ApiModel):
    """Whether there is an administrator yet."""

    initialized: bool


class SetupIn(ApiModel):
    """The first administrator. `token` is the one that the server wrote to its log at its first start."""

    token: str = Field(max_length=200)
    username: str = Field(max_length=200)
    password: SecretStr = Field(max_length=1000)
    email: str | None = Field(None, max_length=300)


class SetupOut(TokensOut):
    """The tokens of the first sign-in, and a first API key, which nobody can tell again."""

    api_key: NewKeyOut


@bp.get("", **returns(SetupStateOut))
@public
def state() -> Response:
    """Whether this installation is set up."""
    return ok(SetupStateOut(initialized=not services().setup.is_open()))


@bp.post("", **returns(SetupOut, 201))
@public
@limited("auth")
def complete(body: SetupIn) -> Response:
    """Make the first administrator, sign in, and make a first API key.

    Once done, this is closed for ever: 409 `setup_closed`.
    """
    signed_in, made = services().setup.complete(
        body.token, body.username, body.password.get_secret_value(), body.email, client_address()
    )
    return ok(SetupOut(**mint(signed_in).model_dump(), api_key=NewKeyOut.of(made)), 201)
