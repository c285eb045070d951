"""Files and functions stay small enough to be read at one go, and say what they are for."""

import ast
import inspect
from pathlib import Path

import pytest
from flask_openapi import OpenAPI

from tests.code import LAYERS, ROOT, body_length, functions, length, source_files, tree
from tests.routes import all_routes

FILE_LINES = 400
FUNCTION_LINES = 50  # migrations apart: they are lists of tables
HANDLER_LINES = 25


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_a_file_is_not_too_long(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= FILE_LINES


@pytest.mark.parametrize("path", [path for path in source_files() if path.parent.name != "versions"], ids=str)
def test_no_function_is_too_long(path: Path) -> None:
    assert {node.name: length(node) for node in functions(path) if length(node) > FUNCTION_LINES} == {}


def test_handlers_are_short(app: OpenAPI) -> None:
    for route in all_routes(app):
        source = Path(inspect.getsourcefile(inspect.unwrap(route.view)) or "").relative_to(ROOT)
        handler = next(node for node in functions(source) if node.name == route.view.__name__)
        assert body_length(handler) <= HANDLER_LINES, str(route)


@pytest.mark.parametrize("path", source_files(*LAYERS), ids=str)
def test_public_functions_are_annotated(path: Path) -> None:
    bare = []
    for node in functions(path):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        named = [argument for argument in arguments if argument is not None and argument.arg not in ("self", "cls")]
        if not node.name.startswith("_") and (node.returns is None or any(a.annotation is None for a in named)):
            bare.append(node.name)

    assert bare == []


@pytest.mark.parametrize("path", source_files(*LAYERS), ids=str)
def test_modules_and_public_classes_say_what_they_are(path: Path) -> None:
    classes = [node for node in tree(path).body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]

    assert ast.get_docstring(tree(path))
    assert [node.name for node in classes if not ast.get_docstring(node)] == []
