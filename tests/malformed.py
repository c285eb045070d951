"""Malformed requests, endless and always the same for the same seed."""

import base64
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_from_bytes

from tests.routes import Route

DEPTH = 10_000
MEGABYTE = 1024 * 1024
ODD_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\r\nX-Injected: 1",
    "\u202e\u200b\ufeff",
    "\U0010ffff\ufffe",
    "'; DROP TABLE users; --",
    "%00%0a%ff",
    "%s%n{0}{{7*7}}${7*7}",
    "../../../../etc/passwd",
    "null",
    "-1",
    "1e999",
    "é" * 300,
    "😀" * 100,
    "x" * 70_000,
    "data:image/png;base64,!!!!",
    "data:image/png;base64,aGVsbG8=",
    "data:text/html,<script>",
    "http://",
    "https://[::1",
    "javascript:alert(1)",
    "/echo words=-1 pace=nan after=1e400 fail=nothing x",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    2**64,
    10**400,
    -(10**400),
    1e308,
    [],
    {},
    [None],
    {"": None},
    [[["a"]]],
    *ODD_TEXTS,
)
ODD_LITERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "01",
    "1.",
    "+1",
    "0x1",
    "'a'",
    "undefined",
    "1e99999",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\x41"',
)
ODD_TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/json; charset=utf-16",
    "application/json; charset=nonsense",
    "application/xml",
    "application/vnd.api+json",
    "",
    ";;;",
    "a" * 5000,
    "application/json\tx",
)
CURSOR_IDS = ("", "é", "a\0b", "sess_" + "z" * 26)
CURSOR_TIMES = (
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "0000-00-00",
)
CURSOR_PARTS: tuple[Any, ...] = (
    *(None, True, False, -1, 3, 2**31, 2**63, 10**30, 1.5, []),
    *CURSOR_IDS,
    *CURSOR_TIMES,
)
ODD_CURSORS = ("AAAA", "!!!!", "bnVsbA", "e30", "é", "a" * 501, "=", "WzFlOTk5XQ")
ODD_HEADERS = (
    ("Authorization", "Bearer"),
    ("Authorization", "Bearer a.b.c"),
    ("Authorization", "Basic \xff\xfe"),
    ("Authorization", "Bearer " + "a" * 9000),
    ("Accept", "application/json;q=x, */*;q=99"),
    ("Accept", "text/event-stream"),
    ("Last-Event-ID", "-1"),
    ("Last-Event-ID", "\xff"),
    ("Last-Event-ID", "9" * 50),
    ("Last-Event-ID", "gen_x:1"),
    ("X-Request-Id", "a\tb"),
    ("X-Request-Id", "x" * 5000),
    ("X-Forwarded-For", "\0, ::1, not an address"),
    ("Forwarded", "for=;;;"),
    ("Host", "evil.example\\@x"),
    ("Host", ""),
    ("Origin", "null"),
    ("Content-Encoding", "gzip"),
    ("Content-Length", "-5"),
    ("Content-Length", "abc"),
    ("If-None-Match", '"' + "x" * 3000),
    ("Range", "bytes=9-1,-,x"),
    ("Cookie", "a=\xff; session=.x"),
    ("Expect", "100-continue"),
)
ODD_METHODS = ("TRACE", "PROPFIND", "CONNECT", "BREW", "get", "PATCH", "DELETE", "PUT", "POST", "HEAD", "OPTIONS")
ODD_STEPS = (
    b"%00",
    b"\0",
    b"\xff",
    b"..",
    b".",
    b"%2e%2e%2f",
    b"a" * 3000,
    b"sess_" + b"0" * 26,
    b"\xe2\x80\xae",
    b"a;b=c",
    b"",
    b"'\"",
    b"\r\nX-Injected: 1",
    b"*",
)
BAD_UTF8 = (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe4\xbd")
QUERY_NAMES = (
    "limit",
    "cursor",
    "q",
    "archived",
    "after",
    "session_id",
    "sessionId",
    "ticket",
    "last_event_id",
    "\0",
)


@dataclass
class Request:
    """One request, as bytes where a well-behaved client would not let anything else through."""

    method: str
    path: bytes
    query: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    chunked: bool = False
    caller: str = ""

    def __str__(self) -> str:
        shown = {name: value[:60] for name, value in self.headers}
        place = f"{self.method} {self.path[:120]!r}?{self.query[:120]!r}"
        return f"{self.caller}: {place} {shown} {self.body[:200]!r} ({len(self.body)} bytes)"


class Malformer:
    """Spoils requests to ``routes``. ``fields`` are good values of body fields, ``ids`` of path parameters.

    Both may be changed while requests are made: what was deleted teaches nothing more.
    """

    def __init__(self, seed: str, routes: Sequence[Route], fields: dict[str, Any], ids: dict[str, str]) -> None:
        self._random = random.Random(seed)
        self._routes = routes
        self._fields = fields
        self._ids = ids
        self._kinds: list[Callable[[Request], None]] = [
            self._odd_field,
            self._odd_field,
            self._odd_field,
            self._broken_json,
            self._odd_literal,
            self._not_an_object,
            self._deep,
            self._duplicate_keys,
            self._bad_utf8,
            self._huge_text,
            self._wrong_type,
            self._odd_header,
            self._odd_header,
            self._odd_query,
            self._odd_query,
            self._odd_path,
            self._odd_path,
            self._odd_method,
            self._chunked,
        ]

    def requests(self, count: int) -> Iterator[Request]:
        """So many requests: every route meets every kind of fault before anything else."""
        grid = [(route, kind) for route in self._routes for kind in dict.fromkeys(self._kinds)]
        self._random.shuffle(grid)
        for number in range(count):
            route = grid[number][0] if number < len(grid) else self._random.choice(self._routes)
            request = self._good(route)
            (grid[number][1] if number < len(grid) else self._random.choice(self._kinds))(request)
            while self._random.random() < 0.2:
                self._random.choice(self._kinds)(request)
            yield request

    def _good(self, route: Route) -> Request:
        request = Request(route.method, route.path_for("nothing", **self._ids).encode())
        request.caller = self._random.choice(("user", "user", "user", "admin", "nobody"))
        if route.takes_body:
            names = self._random.sample(sorted(self._fields), k=self._random.randint(0, 6))
            self._set(request, {name: self._fields[name] for name in {*names, "message", "username", "password"}})
        return request

    def _set(self, request: Request, body: Any) -> None:
        request.body = json.dumps(body).encode()
        request.headers = [(name, value) for name, value in request.headers if name != "Content-Type"]
        request.headers.append(("Content-Type", "application/json"))

    def _odd(self) -> Any:
        value = self._random.choice(ODD_VALUES)
        return {self._random.choice(sorted(self._fields)): value} if self._random.random() < 0.1 else value

    def _odd_field(self, request: Request) -> None:
        body = {name: self._fields[name] for name in ("message", "username", "password", "title")}
        for _ in range(self._random.randint(1, 4)):
            body[self._random.choice(sorted(self._fields))] = self._odd()
        self._set(request, body)

    def _broken_json(self, request: Request) -> None:
        self._set(request, self._fields)
        cut = self._random.randrange(len(request.body))
        noise = self._random.choice((b"", b"}", b",", b"\x00", b'"', b"\xef\xbb\xbf", b"/*x*/", b"\\"))
        request.body = request.body[:cut] + noise + request.body[cut + self._random.randrange(3) :]

    def _odd_literal(self, request: Request) -> None:
        name, literal = self._random.choice(sorted(self._fields)), self._random.choice(ODD_LITERALS)
        self._set(request, {})
        request.body = f'{{"message": "a", "{name}": {literal}}}'.encode()

    def _not_an_object(self, request: Request) -> None:
        self._set(request, self._random.choice(([], [{}], "text", 1, None, True, [["a"]])))

    def _deep(self, request: Request) -> None:
        self._set(request, {})
        opening, closing = self._random.choice(((b'{"a":', b"}"), (b"[", b"]")))
        closed = closing * DEPTH if self._random.random() < 0.5 else b""
        request.body = b'{"message": "a", "config": ' + opening * DEPTH + b"1" + closed + b"}"

    def _duplicate_keys(self, request: Request) -> None:
        name = self._random.choice(sorted(self._fields))
        pairs = ",".join(f'"{name}": {json.dumps(self._odd())}' for _ in range(3))
        self._set(request, {})
        request.body = f'{{"message": "a", {pairs}}}'.encode("utf-8", "surrogatepass")

    def _bad_utf8(self, request: Request) -> None:
        self._set(request, {"message": "a", self._random.choice(sorted(self._fields)): "@@"})
        bad = self._random.choice(
            (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe4\xbd")
        )
        request.body = request.body.replace(b"@@", bad)

    def _huge_text(self, request: Request) -> None:
        name = self._random.choice(sorted(self._fields))
        self._set(request, {"message": "a", name: "x" * self._random.choice((MEGABYTE, 3 * MEGABYTE))})

    def _wrong_type(self, request: Request) -> None:
        self._set(request, self._fields)
        request.headers[-1] = ("Content-Type", self._random.choice(ODD_TYPES))

    def _odd_header(self, request: Request) -> None:
        request.headers.append(self._random.choice(ODD_HEADERS))

    def _odd_query(self, request: Request) -> None:
        pairs = []
        for _ in range(self._random.randint(1, 4)):
            value = self._random.choice((*ODD_CURSORS, *ODD_TEXTS, "99999999999999999999", "1.5", "nan"))
            pairs.append(f"{self._random.choice(QUERY_NAMES)}={value[:2000]}".encode("utf-8", "surrogatepass"))
        if self._random.random() < 0.5:
            pairs = [f"cursor={self._cursor()}".encode()]
        request.query = quote_from_bytes(b"&".join(pairs), safe="=&%").encode() + self._random.choice(
            (b"", b"&%ff=%zz", b"&&=&;")
        )

    def _cursor(self) -> str:
        """One that has the form of ours, which is a list of one or three values."""
        key = [self._random.choice(CURSOR_PARTS) for _ in range(self._random.choice((1, 3)))]
        if len(key) == 3 and self._random.random() < 0.7:  # as that of sessions is
            key = [True, self._random.choice(CURSOR_TIMES), self._random.choice(CURSOR_IDS)]
        return base64.urlsafe_b64encode(json.dumps(key).encode()).rstrip(b"=").decode()

    def _odd_path(self, request: Request) -> None:
        steps = request.path.split(b"/")
        odd = self._random.choice(ODD_STEPS)
        place = self._random.randrange(1, len(steps) + 1)
        steps[place : place + self._random.randrange(2)] = [odd]
        request.path = b"/".join(steps)

    def _odd_method(self, request: Request) -> None:
        request.method = self._random.choice(ODD_METHODS)

    def _chunked(self, request: Request) -> None:
        if not request.body or self._random.random() < 0.5:
            self._set(request, {"message": "a"} | {self._random.choice(sorted(self._fields)): self._odd()})
        request.chunked = True
