"""The provider's own endpoints, under /_: scripts, log, stats. They are never scripted and never logged."""

from __future__ import annotations

import msgspec

from .http1 import Head
from .log import RequestLog
from .script import ScriptBook, parse_scripts

MAX_WAIT_S = 120.0


class Admin:
    """Answers the requests whose path starts with /_."""

    def __init__(self, book: ScriptBook, log: RequestLog) -> None:
        self._book = book
        self._log = log

    def handle(self, head: Head, body: bytes) -> tuple[int, bytes]:
        """Status and JSON body."""
        if head.method == "GET" and head.path.startswith("/_log/"):
            return self._entry(head.path.removeprefix("/_log/"), float(head.query.get("wait", 0)))
        match (head.method, head.path):
            case ("POST", "/_script"):
                return self._post_script(body)
            case ("DELETE", "/_script"):
                self._book.clear()
            case ("DELETE", "/_log"):
                self._log.clear()
            case ("GET", "/_log"):
                return 200, msgspec.json.encode({"entries": self._log.after(int(head.query.get("after", 0)))})
            case ("GET", "/_stats"):
                return 200, msgspec.json.encode(self._log.stats())
            case _:
                return 404, b'{"error":"not found"}'
        return 200, b"{}"

    def _post_script(self, body: bytes) -> tuple[int, bytes]:
        try:
            scripts = parse_scripts(body)
        except msgspec.DecodeError as error:
            return 400, msgspec.json.encode({"error": str(error)})
        self._book.post(scripts)
        return 200, msgspec.json.encode({"queued": len(self._book.queue)})

    def _entry(self, request_id: str, wait: float) -> tuple[int, bytes]:
        # `wait` holds the answer until the request has ended, at most that many seconds.
        entry = self._log.entries.get(request_id)
        if entry is None:
            return 404, b'{"error":"no such request"}'
        if wait > 0:
            entry.done.wait(min(wait, MAX_WAIT_S))
        return 200, msgspec.json.encode(entry.as_dict())
