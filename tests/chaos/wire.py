"""HTTP for hundreds of clients in one thread: asyncio, and one connection for each request."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

_LIMIT = 1024 * 1024


class Cut(Exception):
    """The connection was refused, or ended before the answer did."""


class Response:
    """An answer whose head has been read. Leaving its block hangs up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> Self:
        """Wait for status and headers. Raises :class:`Cut`."""
        try:
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (OSError, EOFError) as error:
            raise Cut(repr(error)) from error
        self.status = int(lines[0].split()[1])
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
        return self

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises :class:`Cut`."""
        try:
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                yield await self._reader.readexactly(int(self.headers.get("content-length", 0)))
                return
            while size := int(await self._reader.readline() or b"cut", 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
        except (OSError, EOFError, ValueError) as error:
            raise Cut(repr(error)) from error

    async def json(self) -> Any:
        """The whole body; an empty object where it is something else, such as a proxy's page. Raises :class:`Cut`."""
        body = b"".join([piece async for piece in self.pieces()])
        return json.loads(body) if "json" in self.headers.get("content-type", "") else {}

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """(id, data) of each server-sent event; (0, b"") for a comment. Raises :class:`Cut`."""
        rest = b""
        async for piece in self.pieces():
            *frames, rest = (rest + piece).split(b"\n\n")
            for frame in frames:
                head, _, data = frame.partition(b"\ndata: ")
                yield (int(head.removeprefix(b"id: ")), data) if data else (0, b"")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._writer.close()


async def send(
    port: int, method: str, path: str, token: str, body: Any = None, headers: dict[str, str] | None = None
) -> Response:
    """Send a request to a local port and wait for the answer's head. Raises :class:`Cut`."""
    content = b"" if body is None else json.dumps(body).encode()
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
    } | (headers or {})
    head = "".join(
        [f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT)
        writer.write(head.encode() + content)
        await writer.drain()
    except OSError as error:
        raise Cut(repr(error)) from error
    try:
        return await Response(reader, writer).read_head()
    except BaseException:
        writer.close()
        raise
