"""The provider's own record of every request: what came in, what went out, and how it ended."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import msgspec
from gevent.event import Event

WALL_OFFSET = time.time() - time.monotonic()
MAX_ENTRIES = 20_000
MAX_KEPT_BODY = 64 * 1024
MAX_KEPT_TEXT = 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One request. Times are monotonic seconds of this machine (comparable between its processes)."""

    seq: int
    path: str
    protocol: str
    key: str
    raw: bytes
    digest: str
    started: float
    model: str = ""
    messages: int = 0
    stream: bool = False
    script: str = ""
    fault: str = "none"
    status: int = 200
    first_byte: float | None = None
    ended: float | None = None
    closed: float | None = None
    end: str | None = None
    events_sent: int = 0
    finished: bool = False
    usage_reported: dict[str, int] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    done: Event = field(default_factory=Event)
    _text: list[str] = field(default_factory=list)
    _text_length: int = 0

    @property
    def id(self) -> str:
        """The id clients see: in the X-Request-Id header, and as DashScope's request_id."""
        return f"req_{self.seq:08d}"

    @property
    def text_sent(self) -> str:
        """The answer text that left, up to 1 MiB of it."""
        return "".join(self._text)

    def sent(self, text: str, events: int = 1) -> None:
        """Count events that left, with the answer text they carried."""
        if self.first_byte is None:
            self.first_byte = time.monotonic()
        self.events_sent += events
        if text and self._text_length < MAX_KEPT_TEXT:
            self._text.append(text)
            self._text_length += len(text)

    def finish(self, end: str, closed: float | None = None) -> None:
        """Note how it ended, once."""
        if self.end is None:
            self.end, self.ended, self.closed = end, time.monotonic(), closed
            self.done.set()

    def as_dict(self) -> dict[str, Any]:
        """The entry for GET /_log. `*_at` are wall-clock seconds, `*_mono` monotonic seconds, both to the µs."""
        times = {"started": self.started, "first_byte": self.first_byte, "ended": self.ended, "closed": self.closed}
        walls = {f"{name}_at": None if at is None else round(at + WALL_OFFSET, 6) for name, at in times.items()}
        monos = {f"{name}_mono": None if at is None else round(at, 6) for name, at in times.items()}
        return {
            "seq": self.seq,
            "id": self.id,
            "path": self.path,
            "protocol": self.protocol,
            "model": self.model,
            "key": self.key,
            "messages": self.messages,
            "stream": self.stream,
            "body_digest": self.digest,
            "body": _parsed(self.raw),
            "headers": self.headers,
            "script": self.script,
            "fault": self.fault,
            "status": self.status,
            "events_sent": self.events_sent,
            "text_sent": self.text_sent,
            "finished": self.finished,
            "usage_reported": self.usage_reported,
            "end": self.end,
            **walls,
            **monos,
        }


def _parsed(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        return None


class RequestLog:
    """The newest entries by id, and counters that outlive a clear of the entries only by what is still open."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.requests = 0
        self.open_streams = 0
        self.max_open = 0
        self._numbers = itertools.count(1)

    def open(self, path: str, protocol: str, headers: dict[str, str], raw: bytes) -> Entry:
        """Start an entry. A body over 64 KiB is logged by its digest alone."""
        key = (headers.get("authorization") or headers.get("x-api-key") or "").removeprefix("Bearer ").strip()
        kept = raw if len(raw) <= MAX_KEPT_BODY else b""
        digest = hashlib.sha256(raw).hexdigest()
        entry = Entry(next(self._numbers), path, protocol, key[-4:], kept, digest, time.monotonic())
        entry.headers = {name: value for name, value in headers.items() if name not in ("authorization", "x-api-key")}
        self.requests += 1
        self.entries[entry.id] = entry
        if len(self.entries) > MAX_ENTRIES:
            self.entries.popitem(last=False)
        return entry

    def stream_opened(self) -> None:
        """Count one more answer in mid-stream."""
        self.open_streams += 1
        self.max_open = max(self.max_open, self.open_streams)

    def stream_closed(self) -> None:
        """Count one answer less in mid-stream."""
        self.open_streams -= 1

    def after(self, seq: int) -> list[dict[str, Any]]:
        """Entries with a greater sequence number, oldest first."""
        return [entry.as_dict() for entry in self.entries.values() if entry.seq > seq]

    def clear(self) -> None:
        """Drop every entry and start the counters again; sequence numbers go on."""
        self.entries.clear()
        self.requests = 0
        self.max_open = self.open_streams

    def stats(self) -> dict[str, int]:
        """Counters: answers in mid-stream now, requests, most answers in mid-stream at once."""
        return {"open_streams": self.open_streams, "requests": self.requests, "max_open": self.max_open}
