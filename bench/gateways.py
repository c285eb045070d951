"""The gateways that are measured, each started as its users start it, with one worker on one core."""

import contextlib
import importlib.metadata
import json
import os
import re
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
from tests.servers import ROOT, MariaDb, Redis, free_port

MODEL = "bench"
_START_S = 120


class Gateway(ABC):
    """One gateway in front of the provider. ``url`` is its address, ``headers`` carry its key."""

    name: ClassVar[str]
    native = False  # whether it has UniChat's own API

    def __init__(self, provider_url: str, folder: Path) -> None:
        self.folder = folder
        self.headers: list[str] = []
        started = time.perf_counter()
        self.url, self.pid = self._start(provider_url)
        self.ready_s = time.perf_counter() - started

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

    def _start(self, provider_url: str) -> tuple[str, int]:
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
            WORKERS=1,
            **self._settings(),
        )
        for pid in tree(self._node.pid):
            os.sched_setaffinity(pid, cores()[0])
        self._node.wait_ready()
        token = self._node.set_up()
        limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9, "parallel_requests": 10**6}
        key = self._node.call("POST", "/api/v1/keys", {"name": "bench", **limits}, token)
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

    def _settings(self) -> dict[str, str]:
        self._servers = contextlib.ExitStack()
        database, redis = MariaDb(), Redis()
        self._servers.callback(redis.close)
        self._servers.callback(database.close)
        for server in (database, redis):
            for pid in tree(server.process.pid):
                os.sched_setaffinity(pid, cores()[1])
        return {"DATABASE_URL": database.migrated_database(), "REDIS_URL": redis.url}

    def close(self) -> None:
        """End it and its servers."""
        super().close()
        self._servers.close()


class LiteLLM(Gateway):
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
        log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *on_core(cores()[0]),
                self.venv / "bin/litellm",
                "--config",
                "config.yaml",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            cwd=self.folder,
            env={**os.environ, "LITELLM_MASTER_KEY": "sk-bench", "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.headers = ["authorization: Bearer sk-bench"]
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health/liveliness", self._process)
        return url, self._process.pid

    @property
    def version(self) -> str:
        """The package's."""
        command = [str(self.venv / "bin/python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def all_gateways() -> list[type[Gateway]]:
    """Those that can be measured here. LiteLLM only where LITELLM_VENV names a virtual environment that has it."""
    return [Direct, UniChat, UniChatProduction, *([LiteLLM] if (LiteLLM.venv / "bin/litellm").exists() else [])]


@contextlib.contextmanager
def fast_provider() -> Iterator[str]:
    """The provider in a process of its own; its base URL."""
    process = subprocess.Popen(
        [*on_core(cores()[1]), sys.executable, "-m", "bench.provider"], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(kind: type[Gateway], provider_url: str) -> Iterator[Gateway]:
    """The gateway, until the block is left."""
    with tempfile.TemporaryDirectory(prefix="unichat-bench-") as folder:
        gateway = kind(provider_url, Path(folder) / re.sub(r"\W+", "-", kind.name))
        try:
            yield gateway
        finally:
            gateway.close()
