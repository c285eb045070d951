"""What goes wrong, on purpose. Only processes of the arena's own are touched, each by its number."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.arena import Arena
from tests.node import Node
from tests.servers import Server, listens


def kill_worker(node: Node) -> float:
    """Kill a node's worker with SIGKILL; when."""
    (worker,) = node.worker_pids
    os.kill(worker, signal.SIGKILL)
    return time.monotonic()


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Processes that stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def away(server: Server) -> Iterator[None]:
    """A server that is shut down, and comes back at the same port; a Redis with nothing in it."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def replace_node(arena: Arena, index: int) -> float:
    """Restart a node as a supervisor does: SIGTERM, and a new one at its port as soon as that is free.

    Returns the seconds from the signal until the new one serves.
    """
    old = arena.nodes[index]
    asked_at = time.monotonic()
    old.signal(signal.SIGTERM)
    arena.retired.append(old)
    while listens(old.port):
        time.sleep(0.01)
    arena.nodes[index] = arena.start_node(PORT=old.port).wait_ready()
    return time.monotonic() - asked_at
