"""The API's own description: the OpenAPI document, and a page on which to try it."""

from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import msgspec
from flask import Response, current_app, redirect, request, send_file, url_for
from flask_openapi import OpenAPI, Tag
from pydantic import Field
from werkzeug.wrappers import Response as AnyResponse

from api.blueprint import Blueprint
from api.declarations import public
from api.openapi import document
from api.schemas import ApiModel
from domain.errors import NotFound

bp = Blueprint("docs", __name__, abp_tags=[Tag(name="docs", description="This document.")])

_PAGES = Path(__file__).parent.parent / "pages"
_SWAGGER = Path(str(files("flask_openapi_swagger"))) / "templates" / "swagger"
_FILES = {
    "docs.js": _PAGES / "docs.js",
    "swagger-ui-bundle.js": _SWAGGER / "js" / "swagger-ui-bundle.js",
    "swagger-ui.css": _SWAGGER / "css" / "swagger-ui.css",
}
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CACHE_S = 3600


class FilePath(ApiModel):
    """A file of the page."""

    name: str = Field(max_length=64)


def _answers(description: str, *media_types: str, json_type: str = "string") -> dict[str, Any]:
    content = {media_type: {"schema": {"type": json_type}} for media_type in media_types}
    return {"responses": {200: {"description": description, "content": content}}}


@bp.get("/", responses={302: {"description": "To the page."}})
@public
def root() -> AnyResponse:
    """Where a person who opens the service in a browser goes."""
    return redirect(url_for("docs.page"))


@bp.get("/api/v1/openapi.json", **_answers("OpenAPI 3.1.", "application/json", json_type="object"))
@public
def openapi() -> Response:
    """The OpenAPI document of this API."""
    made = current_app.extensions
    if "openapi" not in made:  # by now all routes are there
        made["openapi"] = msgspec.json.encode(document(cast("OpenAPI", current_app)))
    return _cached(current_app.response_class(made["openapi"], mimetype="application/json"))


@bp.get("/api/v1/docs", **_answers("The page.", "text/html"))
@public
def page() -> Response:
    """A page that shows this document and can send requests."""
    page_text = (_PAGES / "docs.html").read_text().replace("@ROOT@", escape(request.script_root))
    response = current_app.response_class(page_text, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _CSP
    return _cached(response)


@bp.get("/api/v1/docs/<name>", **_answers("A script or a style sheet.", "text/javascript", "text/css"))
@public
def page_file(path: FilePath) -> Response:
    """What the page consists of."""
    if path.name not in _FILES:
        raise NotFound("There is no such file.")
    return send_file(_FILES[path.name], max_age=_CACHE_S, conditional=True)


def _cached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-cache"  # asked again each time, sent again only when it has changed
    response.add_etag()
    return cast("Response", response.make_conditional(request))
