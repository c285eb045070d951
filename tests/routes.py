"""The routes of an application, one for each address and method, so that tests cover new ones by themselves."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask_openapi import OpenAPI
from werkzeug.routing import Rule

OTHER_PROTOCOLS = "/v1/"
_AUTOMATIC = {"HEAD", "OPTIONS"}


@dataclass(frozen=True)
class Route:
    """``str()`` of it is for instance ``GET /api/v1/sessions/{session_id}``, as in the OpenAPI document."""

    method: str
    path: str
    rule: Rule
    view: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def takes_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    def path_for(self, value: str = "", **values: str) -> str:
        """The path with its parameters filled in: by name, else with ``value``."""
        return re.sub(r"{(\w+)}", lambda match: values.get(match[1], value), self.path)


def routes(app: OpenAPI) -> list[Route]:
    """Those of our own API."""
    return [route for route in all_routes(app) if not route.path.startswith(OTHER_PROTOCOLS)]


def gateway_routes(app: OpenAPI) -> list[Route]:
    """Those of the other protocols, whose shapes are not ours."""
    return [route for route in all_routes(app) if route.path.startswith(OTHER_PROTOCOLS)]


def all_routes(app: OpenAPI) -> list[Route]:
    found = [
        Route(method, re.sub(r"<(?:[^<:]+:)?(\w+)>", r"{\1}", rule.rule), rule, app.view_functions[rule.endpoint])
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - _AUTOMATIC
    ]
    return sorted(found, key=lambda route: (route.path, route.method))
