"""The program's own source files, read for the tests of its architecture."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("domain", "models", "repositories", "adapters", "telemetry", "tools", "services", "api", "composition")
SINGLE_FILES = ("app.py", "config.py", "wsgi.py", "gunicorn.conf.py")
FOLDERS = (*LAYERS, "migrations", "scripts")


@cache
def source_files(*folders: str) -> tuple[Path, ...]:
    """Python files of the folders, relative to the root; without folders, of the whole program."""
    chosen = [path for folder in folders or FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    single = [] if folders else [ROOT / name for name in SINGLE_FILES]
    return tuple(path.relative_to(ROOT) for path in [*single, *chosen])


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one of them."""
    return ast.parse((ROOT / path).read_text(), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method in a file, however deep."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def identifiers(path: Path) -> Iterator[str]:
    """Every name that a file defines or uses."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=alias):
                yield from (*name.split("."), *([alias] if alias else []))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
