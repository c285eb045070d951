"""The figures for Prometheus."""

from flask import Response, current_app
from flask_openapi import Tag

from api.blueprint import Blueprint
from api.context import services
from api.declarations import for_metrics

bp = Blueprint("metrics", __name__, abp_tags=[Tag(name="health")])

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_ANSWER = {"description": "All workers of this node.", "content": {"text/plain": {"schema": {"type": "string"}}}}


@bp.get("/metrics", responses={200: _ANSWER})
@for_metrics
def metrics() -> Response:
    """The figures of this node, in Prometheus's text format."""
    return current_app.response_class(services().metrics_text(), content_type=_TEXT)
