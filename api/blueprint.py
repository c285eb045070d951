"""The blueprint that all endpoints are in."""

from collections.abc import Callable, Mapping
from typing import Any

from flask_openapi import APIBlueprint, OpenAPI
from flask_openapi.utils import parse_parameters

from api.schemas import ApiModel, Envelope


class Blueprint(APIBlueprint):
    """flask-openapi's, which works out what the document says of a route when the document is asked for.

    Most processes never are, and it takes a quarter of the time and 4 MB of the memory of a start.
    """

    def __init__(self, name: str, import_name: str, **options: Any) -> None:
        super().__init__(name, import_name, **options)
        self._undescribed: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []

    def _collect_openapi_info(self, rule: str, func: Callable[..., Any], **declared: Any) -> Any:
        # The one method through which each of its decorators goes.
        if self.doc_ui:
            self._undescribed.append((rule, func, declared))
        return parse_parameters(func, doc_ui=False)

    def describe(self, app: OpenAPI) -> None:
        """Put what the routes declare into the document of ``app``."""
        for rule, func, declared in self._undescribed:
            declared["responses"] = _in_envelopes(declared["responses"])
            super()._collect_openapi_info(rule, func, **declared)  # type: ignore[arg-type]  # it says FunctionType
        self._undescribed.clear()
        app.paths |= self.paths
        app.components_schemas |= self.components_schemas
        app.tags += [tag for tag in self.tags if tag not in app.tags]


def _in_envelopes(responses: Mapping[int, Any] | None) -> dict[int, Any]:
    return {
        status: Envelope[answer] if isinstance(answer, type) and issubclass(answer, ApiModel) else answer  # type: ignore[valid-type]  # made at run time
        for status, answer in (responses or {}).items()
    }
