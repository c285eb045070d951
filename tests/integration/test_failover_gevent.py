"""Stops, waits and silence once more, where gevent has patched the standard library as it does in production."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PATCHED = """
import sys
from gevent import monkey
monkey.patch_all()
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
CHOSEN = "stop or (passes and stream and (silence or stall or 429)) or together"


def test_it_is_the_same_with_gevent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PATCHED, str(HERE / "test_failover.py"), "-k", CHOSEN, "-q", "-x"]
    command += ["-p", "no:timeout", "-p", "no:cacheprovider", "--override-ini", "filterwarnings=default"]

    done = subprocess.run(
        [*command, "--basetemp", str(tmp_path / "t")],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
