"""A provider that costs next to nothing: answers that were made beforehand, over OpenAI's protocol.

    python -m bench.provider [--port 0] [--events 50]

It prints its port, and serves until it is ended. An answer has ``--events`` pieces of text. Without a pace a streamed
one leaves in a single write, so that hardly anything of it is the provider's time; with ``"pace_ms": 200`` in the
request its events leave one by one. It is no scripted provider: it reads only as much of a request as it must.
"""

import argparse
import asyncio
import json
import re
from collections import defaultdict

EVENTS = 50  # of an answer, where the request does not say
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PACE = re.compile(rb"pace_ms=(\d+)")
_EVENTS = re.compile(rb"events=(\d+)")
_STREAMED = re.compile(rb'"stream": *true')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(**fields: object) -> bytes:
    base = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1760000000, "model": "bench"}
    return _chunk(b"data: " + json.dumps(base | fields).encode() + b"\n\n")


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> list[object]:
    return [{"index": 0, "delta": delta, "finish_reason": finish_reason}]


def _usage(events: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": events, "total_tokens": 10 + events}


class Answers:
    """The bytes of every answer, made once for each length."""

    def __init__(self, events: int) -> None:
        self.first = _event(choices=_choice({"role": "assistant", "content": ""}))
        self.piece = _event(choices=_choice({"content": " token"}))
        self.head = _HEAD % (b"text/event-stream", b"transfer-encoding: chunked\r\n")
        self.events = events
        self._whole: dict[int, bytes] = {}
        self._streamed: dict[int, bytes] = {}

    def tail(self, events: int) -> bytes:
        """How a stream ends: finish reason, count, end marker, end of the body."""
        finish = _event(choices=_choice({}, "stop"))
        return finish + _event(choices=[], usage=_usage(events)) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def streamed(self, events: int) -> bytes:
        """A whole stream in one piece."""
        if events not in self._streamed:
            self._streamed[events] = self.head + self.first + self.piece * events + self.tail(events)
        return self._streamed[events]

    def whole(self, events: int) -> bytes:
        """A chat completion."""
        if events not in self._whole:
            message = {"role": "assistant", "content": " token" * events, "refusal": None}
            body = json.dumps(
                {
                    "id": "chatcmpl-bench",
                    "object": "chat.completion",
                    "created": 1760000000,
                    "model": "bench",
                    "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                    "usage": _usage(events),
                }
            ).encode()
            self._whole[events] = _HEAD % (b"application/json", b"content-length: %d\r\n" % len(body)) + body
        return self._whole[events]


class Ticker:
    """Sends the events of paced streams, with ten timers for all streams of one pace."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._groups: dict[tuple[int, int], dict[Connection, int]] = defaultdict(dict)  # (pace, tenth) -> events left

    def start(self, connection: "Connection", pace_ms: int, events: int) -> None:
        """Begin a paced stream."""
        connection.write(self._answers.head + self._answers.first)
        tenth = connection.number % 10  # they must not all send at the same moment
        group = self._groups[pace_ms, tenth]
        if not group:
            asyncio.get_running_loop().call_later(pace_ms * (tenth + 1) / 10_000, self._tick, pace_ms, tenth)
        group[connection] = events

    def forget(self, connection: "Connection") -> None:
        """It has hung up."""
        for group in self._groups.values():
            group.pop(connection, None)

    def _tick(self, pace_ms: int, tenth: int) -> None:
        group = self._groups[pace_ms, tenth]
        for connection, left in list(group.items()):
            if left:
                group[connection] = left - 1
                connection.write(self._answers.piece)
            else:
                del group[connection]
                connection.write(self._answers.tail(1))
        if group:
            asyncio.get_running_loop().call_later(pace_ms / 1000, self._tick, pace_ms, tenth)


class Connection(asyncio.Protocol):
    """One kept connection: requests one after the other."""

    opened = 0

    def __init__(self, answers: Answers, ticker: Ticker) -> None:
        self._answers = answers
        self._ticker = ticker
        self._received = b""
        Connection.opened += 1
        self.number = Connection.opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self.write = transport.write

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        """It has hung up."""
        self._ticker.forget(self)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._received, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._received) < size:
                return
            body, self._received = self._received[end + 4 : size], self._received[size:]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        wanted, pace = _EVENTS.search(body), _PACE.search(body)
        events = int(wanted[1]) if wanted else self._answers.events
        if not _STREAMED.search(body):
            self.write(self._answers.whole(events))
        elif pace and int(pace[1]):
            self._ticker.start(self, int(pace[1]), events)
        else:
            self.write(self._answers.streamed(events))


async def serve(port: int, events: int) -> None:
    """Serve until ended."""
    answers = Answers(events)
    ticker = Ticker(answers)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers, ticker), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.events))


if __name__ == "__main__":
    main()
