"""The waits on the way to an open connection, each within what is left of one deadline."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from urllib3.util import wait_for_read, wait_for_write

from adapters.base_adapter import UpstreamCall


def seconds_left(deadline: float) -> float:
    """The seconds until ``deadline``, a monotonic time. Raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def look_up(host: str, port: int) -> list[Any]:
    """The addresses of ``host`` as the system knows them. Raises OSError or UnicodeError."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def addresses(
    host: str, port: int, call: UpstreamCall, deadline: float, resolve: Callable[[str, int], list[Any]] = look_up
) -> list[Any]:
    """The addresses of ``host``, which ``resolve`` looks up where it is a name.

    A lookup cannot be interrupted, so it is left behind when the time is up.
    """
    if numeric := _as_it_is(host, port):
        return numeric
    found: list[Any] = []
    failures: list[Exception] = []
    done = threading.Event()

    def find() -> None:
        try:
            found.extend(resolve(host, port))
        except (OSError, UnicodeError) as error:
            failures.append(error)
        done.set()

    call.on_abort(done.set)
    threading.Thread(target=find, daemon=True).start()
    if not done.wait(seconds_left(deadline)):
        raise TimeoutError("the name lookup took too long")
    if failures:
        raise failures[0]
    return list(found)  # a lookup that was left behind may still add to the other one


def _as_it_is(host: str, port: int) -> list[Any]:
    """The address that ``host`` is, if it is no name. Without the resolver: under gevent that is a native thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, UnicodeError, ValueError):
            socket.inet_pton(family, host)
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return []


def handshake(secured: ssl.SSLSocket, deadline: float) -> None:
    """Do the handshake within the time left as a whole: a timeout on the socket would count for each read alone."""
    secured.settimeout(0)
    ready = True
    while ready:
        try:
            return secured.do_handshake()
        except ssl.SSLWantReadError:
            ready = wait_for_read(secured, seconds_left(deadline))
        except ssl.SSLWantWriteError:
            ready = wait_for_write(secured, seconds_left(deadline))
    raise TimeoutError("the TLS handshake took too long")
