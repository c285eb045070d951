"""OpenAI's published OpenAPI document, to check answers against. It lies beside the checkout and is not part of it."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.servers import REQUIRED

PATH = Path(
    os.environ.get("OPENAI_OPENAPI")
    or Path(__file__).resolve().parents[2] / "shared" / "data" / "openai-openapi.json"
)  # fmt: skip


def needed() -> None:
    """Skips, or fails where nothing may be skipped, when the document is not there."""
    if PATH.exists():
        return
    message = f"NOT TESTED: OpenAI's OpenAPI document is not at {PATH} (OPENAI_OPENAPI names another place)"
    if REQUIRED:
        pytest.fail(message)
    pytest.skip(message)


def _plain(part: Any) -> Any:
    """The same in terms of JSON Schema: the document also has ``nullable``, which OpenAPI 3.1 no longer knows."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    made = {name: _plain(value) for name, value in part.items()}
    if made.get("nullable") is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made


@cache
def _components() -> Any:
    return _plain(json.loads(PATH.read_text())["components"])


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    assert schema in _components()["schemas"]
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": _components()}, validate_formats=False
    )


def faults(schema: str, value: Any) -> list[str]:
    """What of this value contradicts the schema of that name; empty if nothing does."""
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in _validator(schema).iter_errors(value)
    ]
