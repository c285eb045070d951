"""Starts a scripted provider in a process of its own, and talks to its control endpoints. Standard library only."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
Entry = dict[str, Any]


class ScriptedProvider:
    """A running provider. Make one with `ScriptedProvider.start()`, end it with `stop()` or a `with` block.

    `base_url` has no path; `openai_url`, `compatible_url`, `dashscope_url`, `dify_url` and `anthropic_url` are what
    each kind of client takes as its base URL.
    """

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self._process = process
        self.base_url = base_url
        self.openai_url = f"{base_url}/v1"
        self.compatible_url = f"{base_url}/compatible-mode/v1"
        self.dashscope_url = f"{base_url}/api/v1"
        self.dify_url = f"{base_url}/v1"
        self.anthropic_url = f"{base_url}/anthropic"
        scheme, _, self._address = base_url.partition("://")
        self._tls = scheme == "https"
        self._dead_socket: socket.socket | None = None

    @classmethod
    def start(
        cls, *, port: int = 0, default: dict[str, Any] | None = None, tls: tuple[Path, Path] | None = None
    ) -> Self:
        """Launch the program on a port (0: a free one), with a default script, and (certificate, key) for TLS."""
        command = [sys.executable, "-m", "tests.scripted_provider", "--follow-stdin", "--port", str(port)]
        command += ["--script", json.dumps(default or {})]
        if tls:
            command += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("listening on "):
            process.kill()
            process.wait()
            raise RuntimeError(f"the scripted provider did not start: {line!r}")
        return cls(process, line.removeprefix("listening on ").strip())

    def stop(self) -> None:
        """End this provider's process, and no other."""
        self._process.terminate()
        self._process.wait(timeout=10)
        for stream in (self._process.stdin, self._process.stdout, self._dead_socket):
            if stream:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id, for measuring it or for freezing it with a signal."""
        return self._process.pid

    @property
    def refused_url(self) -> str:
        """A base URL whose port refuses every connection for as long as this provider lives."""
        if self._dead_socket is None:
            # Bound but not listening: the port stays taken, and connecting to it is refused.
            self._dead_socket = socket.socket()
            self._dead_socket.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{self._dead_socket.getsockname()[1]}/v1"

    def script(self, *scripts: dict[str, Any], **fields: Any) -> None:
        """Queue scripts: some objects, or one given by its fields. Raises ValueError when the provider refuses them."""
        status, answer = self._call("POST", "/_script", [*scripts, *([fields] if fields else [])])
        if status != 200:
            raise ValueError(answer["error"])

    def log(self, after: int = 0) -> list[Entry]:
        """The logged requests with a greater `seq`, oldest first."""
        entries: list[Entry] = self._call("GET", f"/_log?after={after}")[1]["entries"]
        return entries

    def last(self) -> Entry:
        """The newest logged request. Raises LookupError when there is none."""
        entries = self.log()
        if not entries:
            raise LookupError("no request was logged")
        return entries[-1]

    def wait_requests(self, count: int, timeout: float = 5.0) -> list[Entry]:
        """The log as soon as it has that many requests. Raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while len(entries := self.log()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(entries)} of {count} requests after {timeout} s")
            time.sleep(0.005)
        return entries

    def wait_closed(self, request_id: str | None = None, timeout: float = 5.0) -> Entry:
        """The entry of a request (default: the newest) once it has ended. Raises TimeoutError after `timeout` seconds.

        `closed_mono` is the time.monotonic() at which the provider saw its client leave.
        """
        path = f"/_log/{request_id or self.last()['id']}?wait={timeout}"
        status, entry = self._call("GET", path, timeout=timeout + 5)
        if status != 200:
            raise LookupError(request_id)
        if entry["end"] is None:
            raise TimeoutError(f"{entry['id']} is still open after {timeout} s")
        return dict(entry)

    def stats(self) -> dict[str, int]:
        """{open_streams, requests, max_open}."""
        return dict(self._call("GET", "/_stats")[1])

    def reset(self) -> None:
        """Forget queued scripts, the log and the counters. Answers under way go on."""
        self.forget_scripts()
        self._call("DELETE", "/_log")

    def forget_scripts(self) -> None:
        """Forget queued scripts alone."""
        self._call("DELETE", "/_script")

    def _call(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> tuple[int, Any]:
        if self._tls:
            context = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._address, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._address, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()
