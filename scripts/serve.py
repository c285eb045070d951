"""Serve: replace this process by gunicorn, configured by gunicorn.conf.py."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Never returns: the process becomes the server."""
    os.chdir(ROOT)
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
    os.execv(sys.executable, command)  # noqa: S606  # our own interpreter; a shell would only be in the way
