"""The bench runs, and tells figures: how large they are is no matter here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.report import put_into
from tests.servers import ROOT

SCENARIOS = ("whole", "streamed", "one", "open", "native")


def test_it_measures_a_gateway_and_writes_what_it_saw(tmp_path: Path) -> None:
    page = tmp_path / "figures.md"
    page.write_text("# By hand\n")
    lengths = ("--quick", "--seconds", "1")
    options = ("--only", ",".join(SCENARIOS), "--gateways", "sqlite", "--write", str(tmp_path / "figures"))
    without_others = {name: value for name, value in os.environ.items() if name not in ("LITELLM_VENV", "PORTKEY_DIR")}

    done = subprocess.run(
        [sys.executable, "-m", "bench", *lengths, *options],
        check=False,
        cwd=ROOT,
        env=without_others,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "figures.json").read_text())
    assert set(told["gateways"]) == {"direct", "UniChat, SQLite", "UniChat, SQLite, no budget"}
    assert told["gateways"]["UniChat, SQLite"]["idle_mb"] > 20
    for scenario in SCENARIOS:
        figures = told["figures"][scenario]["UniChat, SQLite"]
        assert figures["answers"] > 0, figures
        assert set(figures["statuses"]) == {"200"}, figures
        assert figures["cpu_ms_each"] > 0
        assert figures["beside_busy"].keys() == {"load", "provider"}
    assert told["figures"]["streamed"]["UniChat, SQLite"]["events"] >= 50
    assert told["figures"]["open"]["UniChat, SQLite"]["answers"] == 300
    assert page.read_text().startswith("# By hand\n")
    assert "| UniChat, SQLite |" in page.read_text()
    assert ElementTree.parse(tmp_path / "figures.svg").getroot().tag.endswith("svg")


def test_a_run_replaces_the_tables_of_the_one_before_and_nothing_else() -> None:
    page: Any = "# Title\n\nBy hand.\n"

    once = put_into(page, "old table\n")
    twice = put_into(once + "\n## After\n", "new table\n")

    assert twice.startswith("# Title\n\nBy hand.\n")
    assert twice.endswith("\n## After\n")
    assert "new table" in twice
    assert "old table" not in twice
    assert put_into(twice, "new table\n") == twice
