"""What leaves the socket, and in how many pieces."""

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, InvalidHeaderName

from api.sending import Response


class Wire:
    """Remembers each piece that is sent. ``room``: how much of one it takes at once."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.sent: list[bytes] = []
        self.room = room

    def send(self, data: bytes) -> int:
        self.sent.append(data[: self.room])
        return len(self.sent[-1])

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


def response(wire: Wire, method: str = "POST", version: tuple[int, int] = (1, 1), *, close: bool = False) -> Response:
    request = SimpleNamespace(method=method, version=version, should_close=lambda: close)
    return Response(request, wire, Config())


def answered(pieces: list[bytes], status: str = "200 OK", headers: Any = (), **asked: Any) -> list[bytes]:
    wire = Wire()
    made = response(wire, **asked)
    made.start_response(status, list(headers))
    for piece in pieces:
        made.write(piece)
    made.close()
    return wire.sent


def test_a_whole_answer_is_one_piece() -> None:
    (sent,) = answered([b"hello"], headers=[("Content-Length", "5"), ("X-One", "1")])

    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {"Connection: keep-alive", "Content-Length: 5", "X-One: 1"} <= set(lines)
    assert body == b"hello"


def test_the_head_of_a_stream_goes_with_its_first_event_and_every_other_by_itself() -> None:
    first, second, end = answered([b"one", b"two two two two two"])

    assert first.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    assert second == b"13\r\ntwo two two two two\r\n"
    assert end == b"0\r\n\r\n"


def test_a_head_does_not_wait_for_a_piece_that_comes_later() -> None:
    wire = Wire()
    made = response(wire)
    made.start_response("200 OK", [])
    made.write(b"")

    assert [piece[-4:] for piece in wire.sent] == [b"\r\n\r\n"]


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_what_has_no_body_is_a_head(method: str, status: str) -> None:
    (sent,) = answered([b""], status, method=method)

    assert sent.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert sent.endswith(b"\r\n\r\n")


def test_a_large_piece_is_not_copied() -> None:
    body = b"x" * 100_000
    head, piece = answered([body], headers=[("Content-Length", "100000")])

    assert head.endswith(b"\r\n\r\n")
    assert piece is body


def test_what_does_not_fit_at_once_follows() -> None:
    wire = Wire(room=10)
    made = response(wire)
    made.start_response("200 OK", [("Content-Length", "5")])
    made.write(b"hello")

    assert len(wire.sent[0]) == 10
    assert b"".join(wire.sent).endswith(b"\r\n\r\nhello")


def test_no_more_is_sent_than_the_length_that_was_told() -> None:
    (sent,) = answered([b"hello, world"], headers=[("Content-Length", "5")])

    assert sent.endswith(b"\r\n\r\nhello")


def test_old_clients_get_the_end_by_the_connections_end() -> None:
    (sent,) = answered([b"hello"], version=(1, 0), close=True)

    assert sent.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Connection: close\r\n" in sent
    assert sent.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("times", [1, 2])  # also once its name is known
def test_a_header_cannot_bring_another(times: int) -> None:
    for _ in range(times):
        answered([b""], headers=[("X-Kept", "fine")])
    for value in ("one\r\nX-Two: 2", "one\nX-Two: 2", "\0", "\x7f"):
        with pytest.raises(InvalidHeader):
            answered([b""], headers=[("X-Kept", value)])
    with pytest.raises(InvalidHeaderName):
        answered([b""], headers=[("X-Kept: 1\r\nX-Two", "2")])


def test_what_is_between_gunicorn_and_the_client_is_gunicorns() -> None:
    for _ in range(2):
        (sent,) = answered([b"x"], headers=[("Connection", "close"), ("Keep-Alive", "9"), ("Content-Length", "1")])
        assert b"keep-alive" in sent
        assert b"Keep-Alive: 9" not in sent


def test_bytes_beyond_ascii_are_kept() -> None:
    (sent,) = answered([b"x"], headers=[("X-Name", "caf\xe9"), ("Content-Length", "1")])

    assert b"X-Name: caf\xe9\r\n" in sent
