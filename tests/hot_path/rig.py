"""A node whose counts are read around each request. All is on: key, limits, budget, ledger, logs, metrics."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import Any

from tests.hot_path.counts import FILE, PORTS, Cells
from tests.hot_path.stage import Provider, Stage
from tests.node import Node
from tests.servers import ROOT, MariaDb, Redis

_WARM = 2
_QUIET_S = 0.05  # so long nothing is counted: then the request is over, its books too
_LIMIT_S = 15
_LOOKS, _LOOK_S = 2, 0.0005
_LOOPS = ("calls", "switches", "greenlets")  # what the event loop counts when nobody asks
_PAGE = 4096
# Large blocks of memory come from the system, and go back to it at once; the first write to each of their pages is a
# page fault. So page faults say how many bytes were copied.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": 16 * 1024, "MALLOC_TRIM_THRESHOLD_": 16 * 1024, "MALLOC_TOP_PAD_": 0}
_MINOR_FAULTS = 7  # in /proc/<pid>/stat, after the name
_UNLIMITED = dict.fromkeys(("RATE_LIMIT", "RATE_LIMIT_CHAT", "RATE_LIMIT_GATEWAY"), "1000000 per minute")
Counts = dict[str, int]
_PROVIDERS = {
    "openai": ("plain", "openai_adapter.OpenAIAdapter", "/v1"),
    "anthropic": ("translated", "anthropic_adapter.AnthropicAdapter", ""),
}


class MeteredNode(Node):
    """A node with meters in its worker."""

    configuration = ROOT / "tests/hot_path/configuration.py"


@dataclass
class Rig:
    """The node, and what is around it."""

    node: Node
    stage: Stage
    cells: Cells
    database: MariaDb | None
    redis: Redis | None

    def count(self, prepare: Callable[[], Callable[[], object]], times: int) -> Counts:
        """What one more request counts: the median of so many, and the least of what the event loop only adds to.

        ``prepare`` does what belongs before a request, and gives what makes it.
        """
        for _ in range(_WARM):
            prepare()()
        found = [self._difference(prepare()) for _ in range(times)]
        return {name: _pick(name)(one[name] for one in found) for name in set().union(*found)}

    def _difference(self, ask: Callable[[], object]) -> Counter[str]:
        self._quiet()
        before = self._read()
        ask()
        self._quiet()
        after = self._read()
        after.subtract(before)
        return after

    def _quiet(self) -> None:
        """Return once nothing is counted any more but the event loop's own."""
        give_up, last = time.monotonic() + _LIMIT_S, None
        while (now := self._of_requests()) != last:
            assert time.monotonic() < give_up, f"it never ends: {now}"
            last = now
            time.sleep(_QUIET_S)

    def _of_requests(self) -> Counts:
        counts = {name: count for name, count in self.cells.read().items() if not _is_of_loop(name)}
        return counts | {"log_lines": self.node.log().count("\n")}

    def _read(self) -> Counter[str]:
        counts = self.cells.read()
        counts["bytes_copied"] = _PAGE * int(_worker(self.node)[_MINOR_FAULTS])
        counts["log_lines"] = self.node.log().count("\n")
        if self.redis:
            counts["redis_commands"] = self.redis.commands()
        if self.database:
            counts.update(self.database.sent())
        return counts


def _pick(name: str) -> Callable[[Iterable[int]], int]:
    return min if _is_of_loop(name) else median_low


def _is_of_loop(name: str) -> bool:
    return name.partition(" ")[0] in _LOOPS


def _worker(node: Node) -> list[str]:
    """What the system says of the worker: its state, and so on."""
    (pid,) = node.worker_pids
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _rest(node: Node) -> None:
    """Return once the worker sleeps, which it does when it waits for a socket."""
    give_up, looks = time.monotonic() + _LIMIT_S, 0
    while looks < _LOOKS:
        assert time.monotonic() < give_up, "the worker is never at rest"
        looks = looks + 1 if _worker(node)[0] == "S" else 0
        time.sleep(_LOOK_S)


@contextmanager
def running_rig(folder: Path, database: MariaDb | None = None, redis: Redis | None = None) -> Iterator[Rig]:
    """The rig, on SQLite unless it is given a database, in a new folder."""
    folder.mkdir()
    provider, cells, entries = Provider(), Cells(folder / "counts"), folder / "providers.json"
    entries.write_text(json.dumps(_entries(provider.port)))
    settings: dict[str, object] = {"AI_PROVIDERS_FILE": entries, "AUTO_TITLE": "false", "WORKERS": 1}
    ports = {provider.port: "provider"}
    if database:
        settings["DATABASE_URL"] = database.migrated_database()
        ports[database.port] = "database"
    if redis:
        settings["REDIS_URL"] = redis.url
        ports[redis.port] = "redis"
    meters = {FILE: folder / "counts", PORTS: json.dumps(ports)}
    node = MeteredNode(folder, **settings, **_UNLIMITED, **_MALLOC, **meters)
    try:
        node.wait_ready()
        with closing(Stage(node.port, _key(node), provider, partial(_rest, node))) as stage:
            yield Rig(node, stage, cells, database, redis)
    finally:
        node.kill()
        provider.close()


def _entries(port: int) -> dict[str, Any]:
    limits = {"max_output": 5000, "context_window": 1_000_000}
    return {
        name: {
            "adapter_class": f"adapters.{adapter}",
            "config": {
                "api_key": "a-key-for-tests",
                "base_url": f"http://127.0.0.1:{port}{path}",
                "models": [{"name": model, **limits}],
            },
        }
        for name, (model, adapter, path) in _PROVIDERS.items()
    }


def _key(node: Node) -> str:
    token = node.set_up()
    limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9, "parallel_requests": 10**6}
    key = node.call("POST", "/api/v1/keys", {"name": "hot path", **limits}, token)
    node.call("PUT", f"/api/v1/keys/{key['id']}/budgets", {"month": {"requests": 10**12, "tokens": 10**15}}, token)
    return str(key["key"])
