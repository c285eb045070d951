"""Serve: replace this process by gunicorn, configured by gunicorn.conf.py."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Never returns: the process becomes the server."""
    os.chdir(ROOT)
    os.environ.setdefault("UNICHAT_WELCOME", "1")
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")])
