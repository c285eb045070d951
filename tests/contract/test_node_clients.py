"""The official clients for Node, unmodified, against a node: they are installed from their lock file, and run."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.gateway import Gateway, gateway
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import program

SCRIPTS = Path(__file__).resolve().parent.parent / "node_clients"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and with what they need."""
    npm = program("npm")
    folder = tmp_path_factory.mktemp("clients") / "node"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        [npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def node(scripted_process: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), scripted_process) as started:
        yield started


def run(folder: Path, script: str, *arguments: str) -> Any:
    """What a script printed."""
    done = subprocess.run(
        [program("node"), script, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", ["plain", "translated"])
@pytest.mark.usefixtures("provider")
def test_openai(clients: Path, node: Gateway, model: str) -> None:
    found = run(clients, "openai.js", node.base_url, node.key, model)

    assert {"plain", "translated", "echo"} <= set(found.pop("models"))
    assert found.pop("broken")["kind"] == "APIError"
    assert found == {
        "chat": "All is well.",
        "stream": "All is well.",
        "counted": True,
        "tools": ["Bonn", "Ulm"],
        "structure": "Bonn",
        "retrieved": model,
        "embeddings": [True, True],
        "unknown_key": {"kind": "AuthenticationError", "status": 401, "code": "invalid_api_key"},
        "unknown_model": {"kind": "NotFoundError", "status": 404, "code": "model_not_found"},
        "wrong_field": {"kind": "BadRequestError", "status": 400, "code": "invalid_value"},
    }


@pytest.mark.parametrize("model", ["plain", "translated"])
@pytest.mark.usefixtures("provider")
def test_anthropic(clients: Path, node: Gateway, model: str) -> None:
    found = run(clients, "anthropic.js", node.node.url, node.key, model)

    assert found.pop("broken")["kind"] == "APIError"
    assert found == {
        "chat": "All is well.",
        "stream": "All is well.",
        "stopped": "end_turn",
        "tools": ["Bonn", "Ulm"],
        "counted": True,
        "unknown_key": {"kind": "AuthenticationError", "status": 401},
        "unknown_model": {"kind": "NotFoundError", "status": 404},
        "wrong_field": {"kind": "BadRequestError", "status": 400},
    }
