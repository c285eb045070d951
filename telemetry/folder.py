"""The folder in which the workers of a node put their figures. Used by the arbiter: it imports next to nothing."""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the metrics library looks for it when it is imported
_PREFIX = "unichat-metrics-"
_YOUNG_S = 60.0  # it may not be locked yet


def share(place: str) -> None:
    """Make a folder in ``place`` and name it in the environment; a reload goes on with the one that is there.

    It is locked for as long as a process of this node lives. What killed nodes have left in ``place`` is removed.
    """
    prefix = f"{_PREFIX}{os.getpid()}-"
    if Path(os.environ.get(VARIABLE, "")).name.startswith(prefix):
        return
    for old in Path(place).glob(f"{_PREFIX}*"):
        _remove_if_left(old)
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix=prefix, dir=place)
    _lock(Path(os.environ[VARIABLE]))


def leave() -> None:
    """Remove the folder: the node is at its end."""
    if VARIABLE in os.environ:
        shutil.rmtree(os.environ[VARIABLE], ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    try:
        if folder.stat().st_mtime < time.time() - _YOUNG_S:
            os.close(_lock(folder))
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # somebody uses it, or it is somebody else's


def _lock(folder: Path) -> int:
    """A descriptor that holds the lock, in this process and those that it forks. Raises OSError if others have it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
