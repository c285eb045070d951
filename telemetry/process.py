"""What the operating system knows about this process."""

import resource
from pathlib import Path

_PAGE = resource.getpagesize()
_STATM, _FDS = Path("/proc/self/statm"), Path("/proc/self/fd")


def resident_bytes() -> int:
    """Memory in use; 0 where the system does not tell it this way."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def open_descriptors() -> int:
    """Open files and sockets; 0 where the system does not tell it this way."""
    try:
        return sum(1 for _ in _FDS.iterdir())
    except OSError:
        return 0
