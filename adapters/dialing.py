"""The waits on the way to an open connection, each within what is left of one deadline."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
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
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name
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
