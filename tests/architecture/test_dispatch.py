"""No code asks for a provider by name: what a model can do is data."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ai_providers, load_settings
from tests.code import LAYERS, identifiers, source_files, tree

NAMES = tuple(ai_providers(load_settings()))
OUTSIDE = source_files("domain", "models", "repositories", "services", "api")
TOKENIZERS = {"services/tokenizer.py"}  # a family of them is called after a provider
FIELDS = {"api/openai/text_request.py": {"echo"}}  # of a protocol, which has one of that name
OF_ALL = {"adapters/model_catalog.py"}  # what is known of many providers' models


def own_files(name: str) -> re.Pattern[str]:
    return re.compile(rf"adapters/{name}_\w+\.py")


def texts(path: Path) -> Iterator[str]:
    """String constants of a file that are not docstrings."""
    prose = {
        node.body[0].value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value


def test_the_built_in_providers_are_known() -> None:
    assert set(NAMES) == {"openai", "qwen", "anthropic", "dify", "echo"}


@pytest.mark.parametrize("path", [path for path in source_files(*LAYERS) if str(path) not in OF_ALL], ids=str)
def test_provider_names_stay_in_their_own_adapters(path: Path) -> None:
    foreign = [name for name in NAMES if not own_files(name).fullmatch(str(path))]
    compared = {text for text in texts(path) for name in foreign if text.lower() == name}

    assert compared - FIELDS.get(str(path), set()) == set()


@pytest.mark.parametrize("path", [path for path in OUTSIDE if str(path) not in TOKENIZERS], ids=str)
def test_no_name_outside_the_adapters_mentions_a_provider(path: Path) -> None:
    words = {word.lower() for name in identifiers(path) for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}

    assert words & {*NAMES, "dashscope"} - {"echo"} == set()  # one may well echo something
