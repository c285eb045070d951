"""How gunicorn sends a response: its head together with the first piece of its body, and headers looked at once."""

from collections.abc import Iterable
from typing import Any

from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]

_LARGE = 65_536  # what is longer is not copied to be sent together
_MOST_NAMES = 200
_PLAIN: set[str] = set()  # names of headers of which gunicorn has nothing to say


class Response(wsgi.Response):  # type: ignore[misc]  # theirs has no types
    """Takes the place of gunicorn's own, which needs two packets for the shortest answer."""

    headers_sent: bool  # or kept for the first piece

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._head = b""

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take them over. Names are code, so each is checked once; values are checked every time."""
        for name, value in headers:
            if name in _PLAIN and value.isascii() and value.isprintable():
                self.headers.append((name, value))
            else:
                super().process_headers([(name, value)])
                if name.lower() != "content-length" and not util.is_hoppish(name) and len(_PLAIN) < _MOST_NAMES:
                    _PLAIN.add(name)

    def send_headers(self) -> None:
        """Send them with what comes next."""
        if not self.headers_sent:
            lines = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
            self._head = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def write(self, arg: bytes) -> None:
        """Send a piece of the body; when this comes back, nothing is kept of it."""
        super().write(arg)
        self._send_head()

    def close(self) -> None:
        """Send what has not been."""
        if not self.headers_sent:
            self.send_headers()
        self._send_head()
        super().close()

    def can_sendfile(self) -> bool:
        """No: it would go past this."""
        return False

    def _emit_body(self, data: bytes) -> None:
        if len(data) > _LARGE:
            self._send_head()
            super()._emit_body(data)
            return
        head, self._head = self._head, b""
        self._send(head + (b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data))

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._send(head)

    def _send(self, data: bytes) -> None:
        sent = self.sock.send(data)  # nearly always all of it, and in fewer steps than by sendall
        if sent < len(data):
            self.sock.sendall(memoryview(data)[sent:])
