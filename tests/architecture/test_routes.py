"""Every route keeps the rules, whoever adds it: closed, limited, documented."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask_openapi import OpenAPI
from pydantic import BaseModel

from api import schemas
from api.limits import limit_class
from api.openapi import document
from tests.routes import Route, all_routes, gateway_routes, routes

ROOT = Path(__file__).resolve().parents[2]

# Who adds a line here lets the whole world call that route.
PUBLIC = {
    "GET /",
    "GET /api/v1/docs",
    "GET /api/v1/docs/{name}",
    "GET /api/v1/openapi.json",
    "GET /api/v1/setup",
    "GET /healthz",
    "GET /readyz",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/register",
    "POST /api/v1/setup",
}
ADMIN_ONLY_FOLDERS = ("/api/v1/models/system", "/api/v1/prices", "/api/v1/prompts", "/api/v1/routes", "/api/v1/users")
LIMIT_CLASSES = {"general", "chat", "gateway", "auth"}


def test_exactly_these_routes_are_public(app: OpenAPI) -> None:
    assert {str(route) for route in all_routes(app) if getattr(route.view, "is_public", False)} == PUBLIC


def test_closed_routes_refuse_callers_without_a_token(app: OpenAPI) -> None:
    closed = [route for route in routes(app) if str(route) not in PUBLIC]
    client = app.test_client()

    for route in closed:
        answer = client.open(route.path_for("nothing"), method=route.method, json={} if route.takes_body else None)
        assert (answer.status_code, answer.json["code"]) == (401, "not_authenticated"), str(route)  # type: ignore[index]
    assert closed
    for route in gateway_routes(app):
        answer = client.open(route.path_for("nothing"), method=route.method, json={} if route.takes_body else None)
        assert (answer.status_code, set(answer.json or {}) >= {"error"}) == (401, True), str(route)


def test_routes_for_administrators_say_so(app: OpenAPI) -> None:
    for route in all_routes(app):
        is_admin_only = getattr(route.view, "is_admin_only", False)
        assert is_admin_only == route.path.startswith(ADMIN_ONLY_FOLDERS), str(route)


def test_every_route_has_a_limit_and_those_that_check_secrets_the_strict_one(app: OpenAPI) -> None:
    with app.app_context():
        classes = {str(route): limit_class(route.rule.endpoint) for route in all_routes(app)}

    assert set(classes.values()) == LIMIT_CLASSES
    unguarded = {route for route in PUBLIC if route.startswith("POST") and classes[route] != "auth"}
    assert not unguarded
    calls_a_provider = {
        "POST /api/v1/chat",
        "POST /api/v1/chat/completion",
        "POST /api/v1/chat/edit",
        "POST /api/v1/chat/regenerate",
        "POST /api/v1/chat/stream",
        "POST /api/v1/chat/{session_id}",
        "POST /api/v1/chat/{session_id}/stream",
        "POST /v1/chat/completions",
        "POST /v1/completions",
        "POST /v1/embeddings",
        "POST /v1/images/generations",
        "POST /v1/moderations",
        "POST /v1/messages",
        "POST /api/v1/models/{model_id}/test",
        "POST /v1/responses",
    }
    assert {route for route, name in classes.items() if name in ("chat", "gateway")} == calls_a_provider


def test_every_route_answers_with_its_limit(app: OpenAPI) -> None:
    client = app.test_client()

    for route in all_routes(app):
        answer = client.open(route.path_for("nothing"), method=route.method)
        assert int(answer.headers["RateLimit-Limit"]) > int(answer.headers["RateLimit-Remaining"]) >= 0, str(route)


def test_every_handler_has_a_docstring(app: OpenAPI) -> None:
    assert [str(route) for route in all_routes(app) if not inspect.getdoc(route.view)] == []


def test_the_document_and_the_routes_are_the_same_set(app: OpenAPI) -> None:
    documented = {f"{method.upper()} {path}" for path, item in document(app)["paths"].items() for method in item}

    of_others = {str(route) for route in gateway_routes(app)}
    assert documented - of_others == {str(route) for route in routes(app)}


def test_the_document_tells_who_may_call(app: OpenAPI) -> None:
    for route, operation in operations(app):
        closed = [{"bearer": []}, {"api_key": []}]
        if route.path == "/api/v1/chat/{session_id}/stream" and route.method == "GET":
            closed.append({"ticket": []})
        if route.path == "/metrics":
            closed = [{"metrics": []}]
        assert operation["security"] == ([] if str(route) in PUBLIC else closed), str(route)


def test_every_operation_is_described(app: OpenAPI) -> None:
    ids = [operation["operationId"] for _, operation in operations(app)]

    assert len(ids) == len(set(ids))
    for route, operation in operations(app):
        assert operation["summary"], str(route)
        assert len(operation["tags"]) == 1, str(route)
        assert "429" in operation["responses"], str(route)
        assert any(status < "400" for status in operation["responses"]), str(route)


def test_every_reference_in_the_document_leads_somewhere(app: OpenAPI) -> None:
    made = document(app)
    wanted = set(references(made))

    for reference in wanted:
        node = made
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]
    assert wanted


def test_streams_are_documented_as_streams(app: OpenAPI) -> None:
    streaming = {
        str(route): sorted(operation["responses"]["200"]["content"])
        for route, operation in operations(app)
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    }

    either = ["application/json", "text/event-stream"]
    assert streaming == {
        "POST /api/v1/chat": either,
        "POST /api/v1/chat/edit": either,
        "POST /api/v1/chat/regenerate": either,
        "POST /api/v1/chat/stream": ["text/event-stream"],
        "GET /api/v1/chat/{session_id}/stream": ["text/event-stream"],
        "POST /api/v1/chat/{session_id}/stream": ["text/event-stream"],
        "GET /api/v1/generations/{generation_id}/events": ["text/event-stream"],
    }


def test_two_schemas_never_share_a_name(app: OpenAPI) -> None:
    # The document would show one of them for both.
    seen: dict[str, type[BaseModel]] = {}
    for model in subclasses(schemas.ApiModel):
        if not model.__pydantic_generic_metadata__["args"]:
            assert seen.setdefault(model.__name__, model) is model, model.__name__


def test_the_document_is_the_same_in_every_process(app: OpenAPI, tmp_path: Path) -> None:
    code = (
        "import json; from app import create_app; from api.openapi import document;"
        "print('document:' + json.dumps(document(create_app(providers={}))))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "DATA_DIR": str(tmp_path / "other"), "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert output.rpartition("document:")[2].strip() == json.dumps(document(app))


def operations(app: OpenAPI) -> Iterator[tuple[Route, dict[str, Any]]]:
    paths = document(app)["paths"]
    return ((route, paths[route.path][route.method.lower()]) for route in routes(app))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def subclasses(cls: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_routes_of_other_protocols_tell_where_those_are_documented(app: OpenAPI) -> None:
    paths = document(app)["paths"]
    chat = paths["/v1/chat/completions"]["post"]

    assert sorted(chat["responses"]["200"]["content"]) == ["application/json", "text/event-stream"]
    for route in gateway_routes(app):
        if hasattr(route.view, "protocol"):
            assert paths[route.path][route.method.lower()]["externalDocs"]["url"].startswith("https://"), str(route)
