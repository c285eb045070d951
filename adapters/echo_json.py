"""The least JSON that fits a JSON Schema, as far as the echo provider understands it."""

from collections.abc import Mapping
from typing import Any

_DEPTH = 20  # schemas may refer to themselves
_LEAST: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "null": None}


def least_json(schema: Mapping[str, Any]) -> Any:
    """A value that fits: required properties only, the first of every choice, the shortest list."""
    return _value(schema, schema, 0)


def _value(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None
    if "$ref" in schema:
        return _value(_referred(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return choices[0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return _value(schema[word][0], root, depth + 1)
    return _of_type(_type_of(schema), schema, root, depth)


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return str(kind[0] if isinstance(kind, list) and kind else kind)


def _of_type(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _value(properties.get(name, {}), root, depth + 1) for name in schema.get("required", [])}
    if kind == "array":
        return [_value(schema.get("items", {}), root, depth + 1)] * int(schema.get("minItems", 0))
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "string":
        return "x" * int(schema.get("minLength", 0))
    return _LEAST.get(kind)


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name) if isinstance(found, Mapping) else None
    return found
