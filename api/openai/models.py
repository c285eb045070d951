"""The models that a client may ask for."""

import msgspec
from flask import Response
from pydantic import Field

from api.context import principal, services
from api.declarations import speaks
from api.openai.protocol import blueprint, documented, json_answer
from api.schemas import QueryModel
from services.model_choice import PublicModel

bp = blueprint("models")


class ModelPath(QueryModel):
    """A public name: it may have slashes."""

    model: str = Field(max_length=200)


class _Model(msgspec.Struct):
    id: str
    created: int
    owned_by: str
    object: str = "model"


class _Models(msgspec.Struct):
    data: list[_Model]
    object: str = "list"


@bp.get("/models")
@speaks(documented("models/list"))
def list_gateway_models() -> Response:
    """The models that the caller may use, by their public names."""
    models = services().completions.models(principal())
    return json_answer(msgspec.json.encode(_Models([_shown(model) for model in models])))


@bp.get("/models/<path:model>")
@speaks(documented("models/retrieve"))
def get_gateway_model(path: ModelPath) -> Response:
    """One of them."""
    return json_answer(msgspec.json.encode(_shown(services().completions.model(principal(), path.model))))


def _shown(model: PublicModel) -> _Model:
    return _Model(model.name, model.created, model.owned_by)
