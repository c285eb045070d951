"""The imports point one way: import-linter's contracts in pyproject.toml hold, and none has exceptions."""

import subprocess
import sys
import tomllib

from tests.code import LAYERS, ROOT


def contracts() -> list[dict[str, object]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(settings["root_packages"]) >= set(LAYERS)
    found: list[dict[str, object]] = settings["contracts"]
    return found


def test_the_layers_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken." in done.stdout


def test_no_contract_ignores_an_import() -> None:
    assert [contract["name"] for contract in contracts() if contract.get("ignore_imports")] == []


def test_every_layer_is_in_the_order() -> None:
    (layers,) = [contract["layers"] for contract in contracts() if contract["type"] == "layers"]

    assert layers == [
        "composition",
        "api",
        "services",
        "adapters | repositories | telemetry | tools",
        "models",
        "domain",
    ]
