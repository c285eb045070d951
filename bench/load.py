"""The load: so many clients, each with one kept connection, each asking again as soon as it has its answer.

    python -m bench.load URL --clients 16 --seconds 10 --body '{"model": ...}' [--stream] [--header 'name: value']

It prints one JSON object: what it saw, and how busy its own process was, because a load generator that is busy all the
time measures itself. It reads only as much of an answer as it must: where it ends, and how many events it had.
"""

import argparse
import asyncio
import json
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_CONNECTS_AT_ONCE = 100


@dataclass
class Seen:
    """What all clients have seen since the measuring began. Times are in seconds."""

    since: float = float("inf")
    latencies: list[float] = field(default_factory=list)
    all_answers: int = 0  # from the very beginning
    first_events: list[float] = field(default_factory=list)
    events: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    example: str = ""  # of an answer that was no success


class Client(asyncio.Protocol):
    """One client on one connection, which it opens again when the server closes it."""

    def __init__(self, request: bytes, seen: Seen, *, once: bool) -> None:
        self._request = request
        self._seen = seen
        self._once = once
        self._transport: asyncio.Transport | None = None
        self._begin_answer()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """The server has hung up, or we have."""
        if not self.done.done():
            self._seen.broken += self._body_began or error is not None
            self.done.set_result(None)

    def _begin_answer(self) -> None:
        self._head = b""
        self._body_began = False
        self._left: int | None = None  # bytes of a body that says its length
        self._tail = b""
        self._first_event_at = 0.0

    def _ask(self) -> None:
        assert self._transport is not None
        self._begin_answer()
        self._asked_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if not self._body_began:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self._head[end + 2 :]  # with a line break, as every chunk has before it
            found = _LENGTH.search(self._head, 0, end)
            self._left = int(found[1]) + 2 if found else None
            self._body_began = True
        if self._left is not None:
            self._left -= len(data)
            ended = self._left <= 0
        else:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            ended = self._tail == _LAST_CHUNK
        events = data.count(b"data: ")
        if events and not self._first_event_at:
            self._first_event_at = time.perf_counter()
        if self._asked_at >= self._seen.since or self._once:
            self._seen.events += events
        if ended:
            self._answered(data)

    def _answered(self, data: bytes) -> None:
        now, seen = time.perf_counter(), self._seen
        seen.all_answers += 1
        if self._asked_at >= seen.since or self._once:
            status = self._head[9:12].decode()
            seen.statuses[status] += 1
            if status == "200":
                seen.latencies.append(now - self._asked_at)
            else:
                seen.example = seen.example or (self._head + data).decode(errors="replace")[:600]
            if self._first_event_at:
                seen.first_events.append(self._first_event_at - self._asked_at)
        if self._once:
            self.stop()
        else:
            self._ask()

    def stop(self) -> None:
        """Hang up."""
        if not self.done.done():
            self.done.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Put the load on, and tell what was seen."""
    url, seen, loop = urlsplit(options.url), Seen(), asyncio.get_running_loop()
    body = options.body.encode()
    headers = "".join(f"{line}\r\n" for line in options.header)
    head = f"POST {url.path} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-type: application/json\r\n{headers}"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    clients: list[Client] = []
    for number in range(options.clients):
        _, client = await loop.create_connection(
            lambda: Client(request, seen, once=options.once), url.hostname, url.port
        )
        clients.append(client)
        if number % _CONNECTS_AT_ONCE == _CONNECTS_AT_ONCE - 1:
            await asyncio.sleep(options.ramp)
    if options.once:
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.wait([client.done for client in clients], timeout=options.seconds)
    else:
        await asyncio.sleep(options.warm)
        started, cpu = time.perf_counter(), time.process_time()
        seen.since = started
        await asyncio.sleep(options.seconds)
    seconds, busy = time.perf_counter() - started, time.process_time() - cpu
    report = _report(seen, seconds, busy, sum(not client.done.done() for client in clients))
    for client in clients:
        client.stop()
    return report


def _report(seen: Seen, seconds: float, busy_s: float, unfinished: int) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "answers": len(seen.latencies),
        "all_answers": seen.all_answers,
        "per_second": len(seen.latencies) / seconds,
        "events_per_second": seen.events / seconds,
        "events": seen.events,
        "latency_ms": percentiles(seen.latencies),
        "first_event_ms": percentiles(seen.first_events),
        "statuses": dict(seen.statuses),
        "broken": seen.broken,
        "unfinished": unfinished,
        "example": seen.example,
        "load_busy": busy_s / seconds,
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds; empty for nothing."""
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": cuts[49] * 1000, "p95": cuts[94] * 1000, "p99": cuts[98] * 1000}


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10, help="how long to measure; with --once, the longest wait")
    parser.add_argument("--warm", type=float, default=2, help="seconds before that")
    parser.add_argument("--once", action="store_true", help="every client asks once, and all wait for all")
    parser.add_argument("--ramp", type=float, default=0, help="seconds between each 100 connections")
    parser.add_argument("--body", required=True)
    parser.add_argument("--header", action="append", default=[])
    print(json.dumps(asyncio.run(run(parser.parse_args()))), flush=True)


if __name__ == "__main__":
    main()
