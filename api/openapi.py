"""The OpenAPI document: what flask-openapi reads from the handlers, made complete by what the routes declare."""

import copy
import inspect
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import msgspec
from flask_openapi import Info, OpenAPI, SecurityScheme
from flask_openapi.models import OPENAPI3_REF_TEMPLATE

from api.application import App
from api.authentication import API_KEY
from api.blueprint import Blueprint
from api.declarations import STREAM, Protocol, scope_of
from api.errors import on_validation_error
from api.schemas import ApiError
from domain import events

Json = dict[str, Any]

VERSION = "0.1.0"

_INFO = Info(
    title="UniChat",
    version=VERSION,
    description=(
        "One chat API over every AI provider.\n\n"
        "Successes are `{success: true, data, error: null}`, failures `{success: false, data: null, error, code, "
        "request_id}`. Sign in with `POST /api/v1/auth/login`, or make an API key with `POST /api/v1/keys`, and send "
        "the access token or the key as `Authorization: Bearer ...`."
    ),
)
_SECURITY_SCHEMES: dict[str, SecurityScheme | Json] = {
    "bearer": SecurityScheme(type="http", scheme="bearer", description="The access token, or an API key."),
    "api_key": SecurityScheme.model_validate(
        {"type": "apiKey", "in": "header", "name": API_KEY, "description": "An API key."}
    ),
    "metrics": SecurityScheme(type="http", scheme="bearer", description="METRICS_TOKEN."),
    "ticket": SecurityScheme.model_validate(
        {
            "type": "apiKey",
            "in": "query",
            "name": "ticket",
            "description": "A ticket of `POST /api/v1/auth/tickets`: for one session, one use, within a minute.",
        }
    ),
}
_OTHER_PROTOCOLS = "/v1/"  # not all that is spoken there is documented here
_REFERENCE = OPENAPI3_REF_TEMPLATE.replace("{model}", "{name}")
_METHODS = ("get", "post", "put", "patch", "delete")
_WITH_BODY = ("post", "put", "patch")
_ERRORS = {  # status -> its answer's name in the document, and what it means
    400: ("Malformed", "The body is not JSON, or not an object."),
    401: ("NotAuthenticated", "There is no credential, or it does not count (any more)."),
    403: ("PermissionDenied", "You may not do this."),
    404: ("NotFound", "There is no such thing, or it is somebody else's."),
    409: ("Conflict", "It cannot be done now."),
    413: ("TooLarge", "The body, or something in it, passes a limit."),
    415: ("UnsupportedMediaType", "The body is not declared as JSON."),
    422: ("Invalid", "The request cannot be fulfilled as it is; `fields` names what is wrong."),
    429: ("LimitExceeded", "Too many requests, or a budget is used up; `Retry-After` says when to come back, if ever."),
    502: ("ProviderFailed", "The AI provider failed."),
    503: ("Unavailable", "A part that this needs is out of service for now."),
    504: ("ProviderTimeout", "The AI provider did not answer in time."),
}
_WITH_RETRY_AFTER = (429, 503)


def openapi_app(root: Path) -> OpenAPI:
    """An application that knows its document, and answers invalid requests in our shape."""
    app = App(
        "unichat",
        info=_INFO,
        security_schemes=_SECURITY_SCHEMES,
        validation_error_model=ApiError,
        validation_error_callback=on_validation_error,
        doc_ui=False,
        static_folder=None,
        root_path=str(root),
    )
    app.openapi_version = "3.1.0"
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a redirect would not be in our shape
    return app


def document(app: OpenAPI) -> Json:
    """The document of all routes, always the same for the same code."""
    for blueprint in app.blueprints.values():
        cast("Blueprint", blueprint).describe(app)
    raw: Json = copy.deepcopy(app.api_doc)
    components = raw["components"]
    components["schemas"] |= _event_schemas() | {"ApiError": ApiError.model_json_schema(mode="serialization")}
    components["responses"] = {name: _error_answer(status) for status, (name, _) in _ERRORS.items()}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if rule.rule.startswith(_OTHER_PROTOCOLS) and not hasattr(view, "protocol"):
            continue
        path = re.sub(r"<(?:[^<:]+:)?", "{", rule.rule).replace(">", "}")
        for method in set(_METHODS) & {name.lower() for name in rule.methods or ()}:
            operation = raw["paths"][path][method]
            _describe(operation, path, rule.endpoint, view)
            if hasattr(view, "protocol"):
                _tell_protocol(operation, method, view, components["schemas"])
            else:
                _answer(operation, method, view)
    components["schemas"] = dict(sorted(components["schemas"].items()))
    return raw


def _describe(operation: Json, path: str, endpoint: str, view: Any) -> None:
    summary, _, description = (inspect.getdoc(view) or "").partition("\n\n")
    operation["operationId"] = endpoint.replace(".", "_")
    operation["summary"] = " ".join(summary.replace("`", "").split()).removesuffix(".")
    operation["security"] = _security(view)
    if {"api_key": []} in operation["security"]:
        operation["x-scope"] = scope_of(view, path)
    operation.pop("deprecated", None)
    operation.pop("description", None)
    if description:
        operation["description"] = description


def _answer(operation: Json, method: str, view: Any) -> None:
    names = {status: _ERRORS[status][0] for status in _errors(operation, method, view)}
    errors = {str(status): {"$ref": f"#/components/responses/{name}"} for status, name in names.items()}
    operation["responses"] = dict(sorted((_successes(operation) | errors).items()))


def _tell_protocol(operation: Json, method: str, view: Any, schemas: Json) -> None:
    """A protocol of others is documented by them; here is what its routes have in common."""
    protocol: Protocol = view.protocol
    operation["externalDocs"] = {"url": protocol.docs}
    (error,), found = msgspec.json.schema_components([protocol.error], ref_template=_REFERENCE)
    schemas |= found
    anything = {"schema": {"type": "object"}}
    content = {"application/json": anything} | ({"text/event-stream": {}} if protocol.streams else {})
    if method in _WITH_BODY:
        operation["requestBody"] = {"required": True, "content": {"application/json": anything}}
    errors = {
        str(status): {"description": _ERRORS[status][1], "content": {"application/json": {"schema": error}}}
        for status in sorted({*_errors(operation, method, view)} - {HTTPStatus.UNPROCESSABLE_ENTITY})
    }
    operation["responses"] = {"200": {"description": "As the protocol says.", "content": content}} | errors


def _successes(operation: Json) -> Json:
    """The declared answers, without the error that the framework adds by itself, and with the stream."""
    answers = {status: answer for status, answer in operation["responses"].items() if status < "400"}
    stream = operation.pop(STREAM, None)
    if stream is not None:
        answer = answers.setdefault("200", {"content": {}})
        answer["description"] = stream["description"]
        answer["content"]["text/event-stream"] = {"schema": stream["schema"]}
    return answers


def _security(view: Any) -> list[Json]:
    if getattr(view, "is_public", False):
        return []
    if getattr(view, "is_for_metrics", False):
        return [{"metrics": []}]
    closed: list[Json] = [{"bearer": []}, {"api_key": []}]
    return [*closed, {"ticket": []}] if getattr(view, "accepts_ticket", False) else closed


def _errors(operation: Json, method: str, view: Any) -> Iterator[int]:
    """The errors that a route can answer with, from what it declares and takes."""
    limit_class = getattr(view, "limit_class", "general")
    parameters, takes_body = operation.get("parameters", []), "requestBody" in operation
    yield from _WITH_RETRY_AFTER
    if not getattr(view, "is_public", False) or limit_class == "auth":
        yield from (401, 403)
    names_something = any(one["in"] == "path" or one["name"].endswith("_id") for one in parameters)
    if takes_body or names_something or method == "delete":
        yield 404
    if takes_body or parameters:
        yield 422
    if method in _WITH_BODY:
        yield from (400, 413, 415)
    if method != "get":
        yield 409
    if limit_class in ("chat", "gateway"):
        yield from (502, 504)


def _error_answer(status: int) -> Json:
    answer: Json = {
        "description": _ERRORS[status][1],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ApiError"}}},
    }
    if status in _WITH_RETRY_AFTER:
        answer["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return answer


def _event_schemas() -> Json:
    """The events of the native streams, from the types that write them: `Event` is any of them."""
    template = _REFERENCE.replace("{name}", "Event{name}")
    (union,), found = msgspec.json.schema_components([events.Event], ref_template=template)
    named = msgspec.json.encode({"Event": union} | {f"Event{name}": schema for name, schema in found.items()})
    # Types that share their name with one elsewhere come with their module.
    plain = named.replace(b"Eventdomain.events.", b"Event").replace(b"Eventdomain.messages.", b"EventMessage")
    return cast("Json", msgspec.json.decode(plain))
