"""Tools of the server."""

from typing import Any

from flask import Response
from flask_openapi import Tag

from api.blueprint import Blueprint
from api.context import principal, services
from api.declarations import returns, scoped
from api.schemas import ApiModel, ok
from domain.api_keys import Scope

bp = Blueprint("tools", __name__, url_prefix="/api/v1/tools", abp_tags=[Tag(name="tools")])


class ToolOut(ApiModel):
    """A tool; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class ToolsOut(ApiModel):
    """All of them."""

    items: list[ToolOut]


@bp.get("", **returns(ToolsOut))
@scoped(Scope.READ)
def tools() -> Response:
    """The tools of the server that models may use for you."""
    listed = services().toolbox.listed(principal())
    items = [
        ToolOut(name=tool.name, description=tool.description, parameters=dict(tool.parameters or {})) for tool in listed
    ]
    return ok(ToolsOut(items=items))
