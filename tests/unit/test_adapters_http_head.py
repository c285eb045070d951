"""Heads of HTTP messages: what is written, and what is read out of bytes that the network cut anywhere."""

from http.client import BadStatusLine, IncompleteRead, InvalidURL, LineTooLong, RemoteDisconnected
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http_head import MAX_HEAD_BYTES, Head, read_head, request_head


def read(*pieces: bytes) -> tuple[Head, bytes]:
    waiting = iter(pieces)
    return read_head(lambda: next(waiting, b""))


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"


@settings(deadline=None)
@given(st.lists(st.integers(0, len(PLAIN)), max_size=20))
def test_it_does_not_matter_where_the_network_cuts(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PLAIN)]
    pieces = [piece for start, end in pairwise(edges) if (piece := PLAIN[start:end])]

    head, ahead = read(*pieces)

    assert head == Head(200, {"content-type": "application/json", "content-length": "2"}, False, 2, True)
    assert ahead == b""


def test_what_comes_behind_the_head_is_not_lost() -> None:
    assert read(PLAIN + b"{}")[1] == b"{}"


@pytest.mark.parametrize(
    ("lines", "chunked", "length", "keeps"),
    [
        ("", False, None, False),
        ("content-length: 0", False, 0, True),
        ("transfer-encoding: Chunked", True, None, True),
        ("transfer-encoding: chunked\r\ncontent-length: 5", True, None, True),
        ("transfer-encoding: gzip, chunked", False, None, False),
        ("content-length: 5\r\ncontent-length: 6", False, None, False),
        ("content-length: -1", False, None, False),
        ("content-length: +1", False, None, False),
        ("content-length: 5\r\nconnection: Close", False, 5, False),
    ],
)
def test_how_long_a_body_is_and_what_becomes_of_the_connection(
    lines: str, chunked: bool, length: int | None, keeps: bool
) -> None:
    head, _ = read(f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode() if lines else b"HTTP/1.1 200\r\n\r\n")

    assert (head.chunked, head.length, head.keeps) == (chunked, length, keeps)


def test_older_servers_keep_a_connection_only_if_they_say_so() -> None:
    assert not read(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n")[0].keeps
    assert read(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n")[0].keeps


def test_an_answer_that_has_no_body_by_its_status() -> None:
    head, _ = read(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n")
    assert (head.chunked, head.length, head.keeps) == (False, 0, True)


def test_announcements_before_the_answer_are_passed_over() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"

    assert read(early + PLAIN)[0].status == 200
    assert read(early, PLAIN)[0].status == 200


def test_headers_of_servers_that_write_them_oddly() -> None:
    head, _ = read(b"HTTP/1.1 429 Too Many\nRetry-After : 5\nX-A: 1\nX-A: 2\n continued\nno header\n also none\n\n")

    assert head.headers == {"retry-after": "5", "x-a": "1, 2 continued"}


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (b"", RemoteDisconnected),
        (PLAIN[:-1], IncompleteRead),
        (b"SSH-2.0-OpenSSH", BadStatusLine),
        (b"HTTP/2 200\r\n\r\n", BadStatusLine),
        (b"HTTP/1.1 OK\r\n\r\n", BadStatusLine),
        (b"HTTP/1.1 20 OK\r\n\r\n", BadStatusLine),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD_BYTES, LineTooLong),
    ],
)
def test_what_is_no_head(wire: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(wire)


def test_a_request() -> None:
    headers = {"host": "here", "accept": "text/event-stream"}

    assert request_head("POST", "/v1/x", headers, 3) == (
        b"POST /v1/x HTTP/1.1\r\nhost: here\r\naccept: text/event-stream\r\ncontent-length: 3\r\n\r\n"
    )
    assert request_head("GET", "/", {"host": "here"}, None) == b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nx: y", "/ü"])
def test_a_target_cannot_say_more_than_a_target(target: str) -> None:
    with pytest.raises(InvalidURL):
        request_head("GET", target, {}, None)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nx: y", "a\rb"])
def test_a_header_cannot_say_more_than_a_header(value: str) -> None:
    with pytest.raises(ValueError, match="more than one line"):
        request_head("GET", "/", {"x": value}, None)
