"""The event stream parser: the same bytes give the same events, however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.sse import EventParser, ServerEvent, parse_events
from domain.errors import ProviderGarbage

LINE_ENDS = [b"\n", b"\r\n", b"\r"]
FIELDS = st.sampled_from(
    [
        b"data: x",
        b"data:x",
        b"data:  two spaces",
        b"data",
        b"data:",
        b"event: error",
        b"event:message",
        b"event",
        b": comment",
        b":",
        b"id: 7",
        b"retry: 10",
        b"unknown: y",
        b"",
        b"",
        'data: {"text": "grüße 你好 🌍 \u2028 \u0085 \x0b"}'.encode(),
        b'data: {"a": 1}',
    ]
)
STREAMS = st.tuples(
    st.booleans(), st.lists(st.tuples(FIELDS, st.sampled_from(LINE_ENDS)), max_size=30), st.binary(max_size=5)
).map(lambda drawn: b"\xef\xbb\xbf" * drawn[0] + b"".join(line + end for line, end in drawn[1]) + drawn[2])


def parsed(*pieces: bytes) -> list[tuple[str, bytes]]:
    return [(event.name, event.data) for events in parse_events(pieces) for event in events]


@settings(deadline=None)
@given(STREAMS, st.lists(st.integers(0, 400), max_size=20))
def test_any_cut_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]

    assert parsed(*pieces) == parsed(stream)
    assert parsed(*(bytes([byte]) for byte in stream)) == parsed(stream)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda data: not set(data) & set(b"\r\n")), max_size=10))
def test_events_of_one_line_each_come_back(payloads: list[bytes]) -> None:
    pieces = [b"data: " + payload + b"\n\n" for payload in payloads]

    assert parsed(*pieces) == [("message", payload) for payload in payloads]
    assert parsed(b"".join(pieces)) == [("message", payload) for payload in payloads]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\ndata: two\n\n", [("message", b"one\ntwo")]),
        (b"event: error\ndata: no\n\ndata: yes\n\n", [("error", b"no"), ("message", b"yes")]),
        (b"event: ping\n\ndata: x\n\n", [("message", b"x")]),
        (b": keep-alive\n\n: again\n\n", []),
        (b"data:\n\n", []),
        (b"data: cut short", []),
        (b"data: cut short\n", []),
        (b"\xef\xbb\xbfdata: after a BOM\n\n", [("message", b"after a BOM")]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [("message", b"a"), ("message", b"b"), ("message", b"c")]),
        ("data: a\u2028b\n\n".encode(), [("message", "a\u2028b".encode())]),
    ],
)
def test_the_rules_of_the_format(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    assert parsed(stream) == events


@pytest.mark.parametrize("size", [1, 1000])
def test_a_line_without_an_end_is_given_up(size: int) -> None:
    parser = EventParser(limit=10_000)

    with pytest.raises(ProviderGarbage):
        for _ in range(20_000 // size):
            parser.feed(b"x" * size)


def test_an_event_of_many_lines_is_given_up() -> None:
    parser = EventParser(limit=10_000)

    with pytest.raises(ProviderGarbage):
        for _ in range(2_000):
            parser.feed(b"data: 123456\n")


def test_a_large_event_in_one_piece_is_given_up() -> None:
    with pytest.raises(ProviderGarbage):
        EventParser(limit=100).feed(b"data: " + b"x" * 200 + b"\n\n")


def test_an_event_has_a_name_and_data() -> None:
    assert EventParser().feed(b"data: x\n\n") == [ServerEvent("message", b"x")]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: a\n\ndata: b\n\ndata: c\n\n",
        b"data: a\n\n: comment\n\ndata: b\n\nda",
        b"data: a\ndata: b\n\ndata: c\n\n",
        b"event: x\ndata: a\n\nevent: y\ndata: b\n\nevent: z\nda",
        b"event: x\ndata: a\n\nid: 1\nevent: y\ndata: b\n\n",
        b"event: x\ndata: a\ndata: b\n\nevent: y\ndata: c\n\n",
        b"event: x\n\nevent: y\ndata: c\n\n",
        b"event: x\ndata: event: y\n\ndata: data: z\n\n",
        b"event: \xff\ndata: a\n\nevent: y\r\ndata: b\n\n",
    ],
)
def test_many_events_at_once_are_the_same_as_one_by_one(stream: bytes) -> None:
    assert parsed(stream) == parsed(*(bytes([byte]) for byte in stream))
    for cut in range(len(stream)):
        assert parsed(stream[:cut], stream[cut:]) == parsed(stream)
