"""The folder of a node's figures: fresh for each start, and left by nobody for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry import folder
from tests.servers import ROOT

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folder.VARIABLE, "/nowhere")  # so that it is put back


def made() -> Path:
    return Path(os.environ[folder.VARIABLE])


def test_a_reload_goes_on_with_the_same_folder(tmp_path: Path) -> None:
    folder.share(str(tmp_path))
    first = made()
    folder.share(str(tmp_path))

    assert made() == first
    assert list(tmp_path.iterdir()) == [first]
    assert first.stat().st_mode & 0o777 == 0o700
    folder.leave()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_nodes_have_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left, young, other = (tmp_path / name for name in ("unichat-metrics-1-a", "unichat-metrics-2-b", "somebody-elses"))
    for path in (left, young, other):
        path.mkdir()
        (path / "counter_1.db").touch()
    for path in (left, other):
        os.utime(path, (LONG_AGO, LONG_AGO))

    folder.share(str(tmp_path))

    assert sorted(tmp_path.iterdir()) == sorted([young, other, made()])


def test_the_folder_of_a_node_that_lives_stays(tmp_path: Path) -> None:
    code = "import os, sys; from telemetry import folder; folder.share(sys.argv[1]); print('made', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == "made\n"
        (theirs,) = tmp_path.iterdir()
        os.utime(theirs, (LONG_AGO, LONG_AGO))

        folder.share(str(tmp_path))
        assert theirs.exists()
        node.kill()
    os.environ[folder.VARIABLE] = ""
    folder.share(str(tmp_path))

    assert not theirs.exists()
