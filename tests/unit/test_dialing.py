"""Addresses that are no names need no resolver."""

import socket
import time
from typing import Any

import pytest

from adapters.base_adapter import Deadlines, UpstreamCall
from adapters.dialing import addresses


def found(host: str, resolve: Any) -> list[Any]:
    call = UpstreamCall(Deadlines(connect=5, first_token=5, idle=5, total=5))
    return addresses(host, 443, call, time.monotonic() + 5, resolve)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_an_address_is_taken_as_it_is(host: str, family: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)  # it would go to a native thread under gevent

    (info,) = found(host, None)
    assert info[:2] == (family, socket.SOCK_STREAM)
    assert info[4][:2] == (host, 443)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.256", "::1%lo", "b\u00fccher.example", "a\0b"])
def test_anything_else_is_looked_up(host: str) -> None:
    asked = []

    def resolve(name: str, port: int) -> list[Any]:
        asked.append((name, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    assert found(host, resolve)[0][4] == ("192.0.2.1", 443)
    assert asked == [(host, 443)]
