"""The gateways that are measured, each started as its users start it, with one worker on one core."""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from bench.machine import cores, cpu_seconds, memory_mb, on_core, tree
from tests.node import Node
from tests.servers import ROOT, MariaDb, Redis, Server, free_port

MODEL = "bench"
_START_S = 120


class Provider:
    """The provider in a process of its own; ``url`` is its base URL."""

    def __init__(self) -> None:
        command = [*on_core(cores()[1]), sys.executable, "-m", "bench.provider"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        return cpu_seconds(tree(self._process.pid))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Gateway(ABC):
    """One gateway in front of the provider. ``url`` is its address, ``headers`` carry its key."""

    name: ClassVar[str]
    native = False  # whether it has UniChat's own API
    spreads = False  # whether it can have more than one worker here
    scenarios: ClassVar[frozenset[str]] = frozenset()  # the only ones to measure; empty for all
    ready_s = 0.0  # from the start of its process until it serves

    def __init__(self, provider: Provider, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self.workers = workers
        self.headers: list[str] = []
        self._provider = provider
        self.url, self.pid = self._start(provider.url)

    @abstractmethod
    def _start(self, provider_url: str) -> tuple[str, int]:
        """Start it and wait until it serves; its address and process id."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What runs."""

    def cpu_seconds(self) -> float:
        """CPU time of all its processes."""
        return cpu_seconds(tree(self.pid))

    def memory_mb(self) -> float:
        """Memory of all its processes."""
        return memory_mb(tree(self.pid))

    def beside(self) -> dict[str, float]:
        """CPU time of what serves it, by name: on the other core, where the load is too."""
        return {"provider": self._provider.cpu_seconds()}

    def close(self) -> None:  # noqa: B027  # not every gateway is a process
        """End it."""


class Direct(Gateway):
    """No gateway: what the load and the provider can do by themselves."""

    name = "direct"

    def _start(self, provider_url: str) -> tuple[str, int]:
        return provider_url.removesuffix("/v1"), 0

    @property
    def version(self) -> str:
        """Nothing runs."""
        return ""

    def cpu_seconds(self) -> float:
        """None."""
        return 0

    def memory_mb(self) -> float:
        """None."""
        return 0


class UniChat(Gateway):
    """UniChat as it comes: SQLite, nothing beside it. Keys, limits, a budget, ledger, logs and metrics are on."""

    name = "UniChat, SQLite"
    native = True
    budgets = True

    def _start(self, provider_url: str) -> tuple[str, int]:
        settings = self._settings()
        started = time.perf_counter()
        self._node = Node(
            self.folder,
            OPENAI_BASE_URL=provider_url,
            OPENAI_API_KEY="bench",
            MODEL_NAME=MODEL,
            AUTO_TITLE="false",
            RATE_LIMIT="100000000 per minute",
            RATE_LIMIT_CHAT="100000000 per minute",
            RATE_LIMIT_GATEWAY="100000000 per minute",
            MAX_STREAMS_PER_USER=100_000,
            WORKERS=self.workers,
            **settings,
        )
        for pid in tree(self._node.pid):
            os.sched_setaffinity(pid, cores()[0] if self.workers == 1 else set.union(*cores()))
        self._node.wait_ready()
        self.ready_s = time.perf_counter() - started
        token = self._node.set_up()
        limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9, "parallel_requests": 10**6}
        key = self._node.call("POST", "/api/v1/keys", {"name": "bench", **limits}, token)
        if self.budgets:
            budget = {"month": {"requests": 10**12, "tokens": 10**15}}
            self._node.call("PUT", f"/api/v1/keys/{key['id']}/budgets", budget, token)
        self.headers = [f"authorization: Bearer {key['key']}"]
        return self._node.url, self._node.pid

    def _settings(self) -> dict[str, str]:
        return {}

    @property
    def version(self) -> str:
        """Python's too."""
        return f"Python {sys.version.split()[0]}, gunicorn {importlib.metadata.version('gunicorn')}"

    def close(self) -> None:
        """End it, at once."""
        self._node.kill()


class UniChatProduction(UniChat):
    """UniChat with MariaDB and Redis, which run on the other core."""

    name = "UniChat, MariaDB and Redis"
    spreads = True

    def _settings(self) -> dict[str, str]:
        database, redis = MariaDb(), Redis()
        self._servers: dict[str, Server] = {"MariaDB": database, "Redis": redis}
        for server in self._servers.values():
            for pid in tree(server.process.pid):
                os.sched_setaffinity(pid, cores()[1])
        return {"DATABASE_URL": database.migrated_database(), "REDIS_URL": redis.url}

    def beside(self) -> dict[str, float]:
        """Of its servers too."""
        return super().beside() | {name: cpu_seconds(tree(one.process.pid)) for name, one in self._servers.items()}

    def close(self) -> None:
        """End it and its servers."""
        super().close()
        for server in self._servers.values():
            server.close()


class UniChatWithoutBudgets(UniChat):
    """UniChat on SQLite, with all but a budget."""

    name = "UniChat, SQLite, no budget"
    native = False
    scenarios = frozenset({"one"})
    budgets = False


class _Program(Gateway):
    """Somebody else's gateway, as a process of its own."""

    def _begin(self, command: list[str | Path], **environment: str) -> None:
        self._started = time.perf_counter()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*on_core(cores()[0]), *command],
                cwd=self.folder,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _serving(self, url: str, path: str) -> tuple[str, int]:
        _wait_for(url + path, self._process)
        self.ready_s = time.perf_counter() - self._started
        return url, self._process.pid

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class LiteLLM(_Program):
    """LiteLLM's proxy without a database, from a virtual environment of its own."""

    name = "LiteLLM proxy"
    venv = Path(os.environ.get("LITELLM_VENV", ""))

    def _start(self, provider_url: str) -> tuple[str, int]:
        model = {"model": f"openai/{MODEL}", "api_base": provider_url, "api_key": "bench"}
        config = {
            "model_list": [{"model_name": MODEL, "litellm_params": model}],
            "litellm_settings": {"telemetry": False},
        }
        self.folder.mkdir(parents=True)
        (self.folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        port = free_port()
        command: list[str | Path] = [
            self.venv / "bin/litellm",
            "--config",
            "config.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        self._begin(command, LITELLM_MASTER_KEY="sk-bench", PATH=f"{self.venv / 'bin'}:{os.environ['PATH']}")
        self.headers = ["authorization: Bearer sk-bench"]
        return self._serving(f"http://127.0.0.1:{port}", "/health/liveliness")

    @property
    def version(self) -> str:
        """The package's, and Python's."""
        tell = "import sys, importlib.metadata as m; print(m.version('litellm') + ', Python ' + sys.version.split()[0])"
        return _said(self.venv / "bin/python", "-c", tell)


class Portkey(_Program):
    """Portkey's gateway, from a folder in which npm has installed it; it has neither keys, nor limits, nor a ledger."""

    name = "Portkey gateway"
    folder_of_npm = Path(os.environ.get("PORTKEY_DIR", ""))
    package = folder_of_npm / "node_modules/@portkey-ai/gateway"

    def _start(self, provider_url: str) -> tuple[str, int]:
        self.folder.mkdir(parents=True)
        port = free_port()
        self._begin(["node", self.package / "build/start-server.js", f"--port={port}", "--headless"])
        self.headers = [
            "authorization: Bearer bench",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {provider_url}",
        ]
        return self._serving(f"http://127.0.0.1:{port}", "/")

    @property
    def version(self) -> str:
        """The package's, and Node's."""
        return (
            f"{json.loads((self.package / 'package.json').read_text())['version']}, Node {_said('node', '--version')}"
        )


def _said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def all_gateways() -> list[type[Gateway]]:
    """Those that can be measured here.

    LiteLLM where LITELLM_VENV names a virtual environment that has it, Portkey's where PORTKEY_DIR names a folder in
    which npm has installed it.
    """
    found: list[type[Gateway]] = [Direct, UniChat, UniChatProduction, UniChatWithoutBudgets]
    if (LiteLLM.venv / "bin/litellm").exists():
        found.append(LiteLLM)
    if Portkey.package.exists() and shutil.which("node"):
        found.append(Portkey)
    return found


@contextlib.contextmanager
def running(kind: type[Gateway], provider: Provider, workers: int = 1) -> Iterator[Gateway]:
    """The gateway, until the block is left."""
    with tempfile.TemporaryDirectory(prefix="unichat-bench-") as folder:
        gateway = kind(provider, Path(folder) / re.sub(r"\W+", "-", kind.name), workers)
        try:
            yield gateway
        finally:
            gateway.close()
