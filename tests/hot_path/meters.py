"""What counts in a worker: a profile function, a greenlet trace, and SQLite's own trace.

They see all that Python calls, so also what goes past the library that is usual for it.
"""

import json
import os
import sqlite3
import sys
import weakref
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import greenlet

from tests.hot_path.counts import FILE, NAMES, PACKAGES, PORTS, Cells
from tests.servers import ROOT

_INDEX = {name: number for number, name in enumerate(NAMES)}
_SENDS = {"send", "sendto", "sendmsg"}
_RECEIVES = {"recv", "recv_into", "recvfrom", "recvmsg"}
_JSON = {"json_decode", "json_encode", "validate_json", "to_json"}  # msgspec's functions, and pydantic's
_PYTHON_JSON = {"JSONDecoder.decode", "JSONEncoder.encode"}


class Meters:
    """Counts what the event loop's thread does, and SQLite's statements wherever they run."""

    def __init__(self) -> None:
        self._cells = Cells(Path(os.environ[FILE])).numbers
        self._peers = json.loads(os.environ[PORTS])
        self._packages: dict[CodeType, int] = {}
        self._seen: weakref.WeakSet[greenlet.greenlet] = weakref.WeakSet()

    def watch_sqlite(self) -> None:
        """Count the statements of every connection that is opened from now on."""
        connect = sqlite3.connect

        def connect_and_trace(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(self._stated)
            return connection

        sqlite3.connect = sqlite3.dbapi2.connect = connect_and_trace

    def start(self) -> None:
        """Count the calls and switches of this thread."""
        greenlet.settrace(self._switched)
        sys.setprofile(self._profiled)

    def _stated(self, statement: str) -> None:
        match statement.split(maxsplit=1)[0].upper():
            case "BEGIN" | "PRAGMA" | "--":
                return
            case "COMMIT":
                self._count("commits")
            case "ROLLBACK":
                self._count("rollbacks")
            case _:
                self._count("statements")

    def _switched(self, _event: str, pair: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        self._count("switches")
        if pair[1] not in self._seen:
            self._seen.add(pair[1])
            self._count("greenlets")

    def _profiled(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            self._cells[self._package(code)] += 1
            if code.co_name == "spawn" and code.co_filename.endswith("gevent/threadpool.py"):
                self._count("thread_hops")
            elif code.co_qualname in _PYTHON_JSON:
                self._count("json")
        elif event == "c_call":
            self._cells[self._package(frame.f_code)] += 1
            self._called(argument, 1)
        elif event == "c_exception":
            self._called(argument, -1)  # a socket that was not ready: it is asked again

    def _called(self, function: Any, by: int) -> None:
        name, owner = function.__name__, getattr(function, "__self__", None)
        if name in _SENDS or name in _RECEIVES:
            if type(owner).__module__ in {"_socket", "gevent._socket3"}:
                way = "sends" if name in _SENDS else "receives"
                self._count(f"{self._peer(owner)}_{way}", by)
        elif name in _JSON or type(owner).__module__ == "msgspec.json":
            self._count("json", max(by, 0))

    def _peer(self, socket: Any) -> str:
        try:
            return str(self._peers.get(str(socket.getpeername()[1]), "client"))
        except OSError:  # it has hung up
            return "client"

    def _package(self, code: CodeType) -> int:
        found = self._packages.get(code)
        if found is None:
            file = code.co_filename.rpartition("site-packages/")[2].removeprefix(f"{ROOT}/")
            package = file.partition("/")[0]
            found = self._packages[code] = _INDEX[f"calls {package if package in PACKAGES else 'other'}"]
        return found

    def _count(self, name: str, by: int = 1) -> None:
        self._cells[_INDEX[name]] += by
