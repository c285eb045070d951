"""What all routes of OpenAI's protocol have in common."""

from typing import Any

from flask import Response, current_app
from flask_openapi import Tag

from api.blueprint import Blueprint
from api.declarations import Protocol
from api.openai.errors import ChatCompletionsError

_DOCS = "https://platform.openai.com/docs/api-reference/"


def blueprint(name: str) -> Blueprint:
    """A blueprint below ``/v1``."""
    tags: list[Any] = [Tag(name="OpenAI's protocol")]
    return Blueprint(f"v1_{name}", __name__, url_prefix="/v1", abp_tags=tags, abp_security=[{"bearer": []}])


def documented(page: str, *, streams: bool = False) -> Protocol:
    """The declaration of a route that is documented on that page."""
    return Protocol(_DOCS + page, ChatCompletionsError, streams)


def json_answer(body: bytes) -> Response:
    """A success."""
    return current_app.response_class(body, mimetype="application/json")
