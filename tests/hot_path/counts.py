"""The counts of a worker, in a file that worker and test have in memory: nobody asks the worker for them."""

import mmap
from collections import Counter
from pathlib import Path

FILE = "HOT_PATH_COUNTS"  # the environment's name for where the counts are
PORTS = "HOT_PATH_PORTS"  # and for whose ports are whose: {"3306": "database"}
PEERS = ("client", "provider", "database", "redis")
# Whose functions are called; "other" is Python's own library, and small ones.
PACKAGES = (
    *("api", "services", "adapters", "repositories", "telemetry", "tools", "models", "domain"),
    *("flask", "werkzeug", "gunicorn", "gevent", "sqlalchemy", "pymysql", "redis", "structlog", "other"),
)
NAMES = (
    "statements",
    "commits",
    "rollbacks",
    "thread_hops",
    "greenlets",
    "switches",
    "json",
    *(f"{peer}_sends" for peer in PEERS),
    *(f"{peer}_receives" for peer in PEERS),
    *(f"calls {package}" for package in PACKAGES),
)
_CELL = 8  # bytes


class Cells:
    """A number for every name, in memory that processes share."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_CELL * len(NAMES)))
        with path.open("r+b") as file:
            self.numbers = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    def read(self) -> Counter[str]:
        """All of them, and the calls of all packages together."""
        counts = Counter(dict(zip(NAMES, self.numbers, strict=True)))
        counts["calls"] = sum(counts[f"calls {package}"] for package in PACKAGES)
        return counts
