"""Bodies out of bytes on the wire: chunked, of a length, to the end of the connection; cut anywhere."""

from http.client import BadStatusLine, IncompleteRead
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http_body import Body


def body_of(*pieces: bytes, chunked: bool = False, length: int | None = None) -> Body:
    waiting = iter(pieces)
    return Body(lambda: next(waiting, b""), chunked=chunked, length=length)


def read(body: Body) -> bytes:
    return b"".join(iter(body.read, b""))


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(wire)]
    return [piece for start, end in pairwise(edges) if (piece := wire[start:end])]


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


@settings(deadline=None)
@given(CHUNKS, st.lists(st.integers(0, 400), max_size=20), st.sampled_from([b"", b";a=b"]), st.booleans())
def test_chunks_come_back_however_they_are_cut(
    chunks: list[bytes], places: list[int], extension: bytes, trailer: bool
) -> None:
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    wire += b"0\r\n" + b"x-trailer: 1\r\n" * trailer + b"\r\n"

    for pieces in (cut(wire, places), [wire], [bytes([byte]) for byte in wire]):
        body = body_of(*pieces, chunked=True)
        assert read(body) == b"".join(chunks)
        assert body.complete
        assert not body.surplus


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_a_body_of_a_length(content: bytes, places: list[int]) -> None:
    body = body_of(*cut(content, places), length=len(content))

    assert read(body) == content
    assert body.complete


def test_a_body_to_the_end_of_the_connection() -> None:
    body = body_of(b"a", b"b")

    assert read(body) == b"ab"
    assert body.complete


@pytest.mark.parametrize("chunked", [True, False])
def test_what_comes_behind_the_end_is_noticed(chunked: bool) -> None:
    wire = b"1\r\na\r\n0\r\n\r\nmore" if chunked else b"amore"
    body = body_of(wire, chunked=chunked, length=1)

    assert read(body) == b"a"
    assert body.surplus


@pytest.mark.parametrize("wire", [b"", b"5", b"5\r\nab", b"2\r\nab", b"2\r\nab\r\n", b"2\r\nab\r\n0\r\n"])
def test_a_chunked_body_that_breaks_off(wire: bytes) -> None:
    with pytest.raises(IncompleteRead):
        read(body_of(wire, chunked=True))


def test_a_body_shorter_than_its_length() -> None:
    with pytest.raises(IncompleteRead):
        read(body_of(b"abc", length=4))


@pytest.mark.parametrize("wire", [b"zz\r\n", b"-1\r\n", b"\r\n", b"5\r\nabcdeXX\r\n", b"1" * 2000])
def test_framing_that_is_none(wire: bytes) -> None:
    with pytest.raises((BadStatusLine, IncompleteRead)):
        read(body_of(wire, chunked=True))
