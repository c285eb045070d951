"""Embeddings, pictures and moderation: what providers do beside answering."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from flask import Response, request
from msgspec import Meta

from api.context import principal, services
from api.declarations import limited, speaks
from api.openai.chat_json import with_model
from api.openai.decoding import decode, fields_of
from api.openai.protocol import blueprint, documented, json_answer
from api.route_headers import note_completion
from domain.errors import UnsupportedInput
from domain.operations import Operation, OperationRequest

bp = blueprint("operations")

_IMAGE_MODEL, _MODERATION_MODEL = "dall-e-2", "omni-moderation-latest"  # of requests that name none, as documented


class EmbeddingsIn(msgspec.Struct):
    """The request: texts, or texts as tokens."""

    model: str
    input: Annotated[str, Meta(min_length=1)] | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None


class ImagesIn(msgspec.Struct):
    """The request, as far as it matters here: the rest is for the provider."""

    prompt: str
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    stream: bool | None = None


class ModerationsIn(msgspec.Struct):
    """The request: texts, or parts of text and pictures."""

    input: str | list[Any]
    model: str | None = None


_embeddings = msgspec.json.Decoder(EmbeddingsIn)
_images = msgspec.json.Decoder(ImagesIn)
_moderations = msgspec.json.Decoder(ModerationsIn)


@bp.post("/embeddings")
@speaks(documented("embeddings/create"))
@limited("gateway")
def create_embeddings() -> Response:
    """Turn texts into vectors."""
    asked, _ = decode(request.get_data(), _embeddings)
    return _perform("embeddings", asked.model, list(_texts(asked.input)))


@bp.post("/images/generations")
@speaks(documented("images/create"))
@limited("gateway")
def create_images() -> Response:
    """Make pictures. They come in one piece."""
    asked, _ = decode(request.get_data(), _images)
    if asked.stream:
        raise UnsupportedInput("Pictures are not streamed.", "unsupported_value", ("stream",))
    return _perform("images", asked.model or _IMAGE_MODEL, [asked.prompt])


@bp.post("/moderations")
@speaks(documented("moderations/create"))
@limited("gateway")
def create_moderation() -> Response:
    """Have texts and pictures classified, by providers that do so."""
    asked, _ = decode(request.get_data(), _moderations)
    return _perform("moderations", asked.model or _MODERATION_MODEL, list(_texts(asked.input)))


def _perform(operation: Operation, model: str, texts: list[str]) -> Response:
    body = request.get_data()
    asked = OperationRequest(operation, model, fields_of(body), body, principal().user_id)
    answer, done = services().operations.perform(principal(), asked, texts, note_completion)
    answering = done.upstream.answering
    is_same = answering is None or answering.choice.model.name == model
    return json_answer(answer.body if is_same else with_model(answer.body, model))


def _texts(given: str | list[Any]) -> Iterator[str]:
    """What is read of an input, for counting; a token counts as a short word."""
    for one in [given] if isinstance(given, str) else given:
        match one:
            case str(text) | {"text": str(text)}:
                yield text
            case list():
                yield "a " * len(one)
            case int():
                yield "a "
