"""Passwords: which are accepted, and their hashes, computed where they do not hold up the event loop."""

import base64
import threading
import unicodedata
from collections.abc import Callable
from typing import TypeVar

import argon2

from domain.errors import InvalidInput, Unavailable
from services.password_strength import weakness

T = TypeVar("T")

MIN_LENGTH = 8
MAX_LENGTH = 128

_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_PARALLEL = 4  # hashes at once: 76 MiB and the cores of a small machine
_WAIT_S = 10  # for a turn; later than that, nobody waits for the answer any more
_VOID = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${base64.b64encode(bytes(15)).decode()}" + (
    f"${base64.b64encode(bytes(32)).decode().rstrip('=')}"  # costs what a real one costs, and fits no password
)


class Offload:
    """Runs a function where it may take its time: the caller's own thread, unless a subclass knows better."""

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        return function(*args)


class Passwords:
    """Argon2id, a few at a time. ``offload`` runs a function without blocking the other requests."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._hasher = argon2.PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._turns = threading.BoundedSemaphore(_PARALLEL)

    def check(self, password: str, *names: str) -> None:
        """Raises :class:`InvalidInput` for a password that would be guessed; ``names`` are its owner's."""
        password = _normal(password)
        fault = f"has {MIN_LENGTH} to {MAX_LENGTH} characters"
        if MIN_LENGTH <= len(password) <= MAX_LENGTH:
            fault = weakness(password, names)
        if fault:
            raise InvalidInput(f"Choose another password: it {fault}.", "weak_password", ("password",))
