"""A whole node for the tests: the real gunicorn, in a process group of its own, on a free port."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config import Settings
from tests.actors import PASSWORD
from tests.servers import ROOT, free_port

_START_S = 30


class NodeFailed(Exception):
    """The node ended instead of serving; the message is its log."""

    def __init__(self, exit_code: int | None, log: str) -> None:
        super().__init__(f"exit code {exit_code}:\n{log}")
        self.exit_code = exit_code
        self.log = log


class Node:
    """One node. ``settings`` become its environment, and nothing else of ours does; it runs until it is ended.

    It serves on a free port, or on PORT of the settings.
    """

    configuration = ROOT / "gunicorn.conf.py"

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = int(str(settings.get("PORT") or free_port()))
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log_file = folder / f"node-{self.port}.log"
        defaults = {"HOST": "127.0.0.1", "PORT": self.port, "DATA_DIR": folder / "data", "LOG_FORMAT": "json"}
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.removesuffix("_FILE") not in Settings.model_fields and not name.startswith("GUNICORN")
        }
        environment |= {name: str(value) for name, value in (defaults | settings).items()}
        environment["PYTHONPATH"] = str(ROOT)
        self._is_gone = False
        self.started_at = time.monotonic()
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", str(self.configuration)],
                cwd=folder,  # not ours, where a developer's .env may lie
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The arbiter's process id, and the id of the node's process group."""
        return self.process.pid

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers that live now."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def log(self) -> str:
        """Everything that the node has written so far."""
        return self._log_file.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log records with this event name."""
        records = [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [record for record in records if record.get("event") == name]

    def wait_event(self, name: str, seconds: float = 10, **fields: object) -> dict[str, Any]:
        """The first log record with this event name and these fields, once there is one."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            for record in self.events(name):
                if fields.items() <= record.items():
                    return record
            time.sleep(0.02)
        raise TimeoutError(f"no {name} with {fields} in:\n{self.log()}")

    def wait_ready(self, seconds: float = _START_S) -> "Node":
        """Return once it says that it is ready. Raises :class:`NodeFailed` if it ends, or if that takes too long."""
        give_up = time.monotonic() + seconds
        while not self._is_ready():
            exit_code = self.process.poll()
            if exit_code is not None or time.monotonic() > give_up:
                self.kill()
                raise NodeFailed(exit_code, self.log())
            time.sleep(0.02)
        return self

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET without credentials."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def set_up(self) -> str:
        """Complete the setup with the token that the node has printed; an administrator's access token."""
        give_up = time.monotonic() + _START_S
        while not (found := re.search(r"Setup token (\S+)", self.log())):  # another worker may serve before it is out
            assert time.monotonic() < give_up, self.log()
            time.sleep(0.02)
        body = {"token": found[1], "username": "ada", "password": PASSWORD}
        return str(self.call("POST", "/api/v1/setup", body)["access_token"])

    def call(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> Any:
        """The data of a successful call."""
        with self.open(method, path, body, token, **headers) as response:
            answer = json.loads(response.read())
        assert answer["success"], answer
        return answer["data"]

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, body: Any = None, token: str = "", **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to a call, unread, on a connection of its own; leaving hangs up."""
        headers |= {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            with connection.getresponse() as response:
                yield response

    def signal(self, number: int) -> None:
        """Send a signal to the arbiter alone, as a supervisor does."""
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self, seconds: float = 60) -> int:
        """Ask it to end, and wait; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """Wait until it has ended by itself; its exit code."""
        code = self.process.wait(seconds)
        self._kill_group()
        return code

    def kill(self) -> None:
        """Kill all its processes at once, as a power cut does."""
        self._kill_group()
        self.process.wait()

    def _kill_group(self) -> None:
        # Once: when the whole group is gone, its number may soon be another's.
        if not self._is_gone:
            self._is_gone = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def running_node(folder: Path, **settings: object) -> Iterator[Node]:
    """A node that serves, and is killed on leaving."""
    node = Node(folder, **settings)
    try:
        yield node.wait_ready()
    finally:
        node.kill()
