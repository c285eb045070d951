"""The aborts and deadlines once more, where gevent has patched the standard library as it does in production."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATCHED = """
import sys
from gevent import monkey
monkey.patch_all()
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
DEADLINES = "no_first_byte or silent_headers or stall or trickle or keepalive or endless or refuse or reset or cut"


@pytest.mark.parametrize(
    "chosen",
    [["test_adapter_aborts.py"], ["test_adapters.py", "-k", f"openai and not qwen and ({DEADLINES})"]],
    ids=["aborts", "deadlines"],
)
def test_it_is_the_same_with_gevent(chosen: list[str], tmp_path: Path) -> None:
    file, *options = chosen
    command = [sys.executable, "-c", PATCHED, str(HERE / file), *options, "-q", "-x", "-p", "no:timeout"]
    command += ["-p", "no:cacheprovider", "--override-ini", "filterwarnings=default", "--basetemp", str(tmp_path / "t")]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
