"""Passwords: which are accepted, and their hashes, computed where they do not hold up other requests."""

import base64
import contextlib
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import argon2

from domain.errors import InvalidInput, Unavailable
from services.password_strength import weakness

T = TypeVar("T")

MIN_LENGTH = 8
MAX_LENGTH = 128

_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_PARALLEL = 4  # hashes at once: 76 MiB, and the cores of a small machine
_WAIT_S = 10  # for a turn; later than that nobody waits for the answer any more


class Offload(Protocol):
    """Runs a function and returns what it returns, without blocking the event loop."""

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)``."""


class Passwords:
    """Argon2id, a few at a time."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._hasher = argon2.PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._turns = threading.BoundedSemaphore(_PARALLEL)

    def check(self, password: str, *names: str | None) -> None:
        """Raises :class:`InvalidInput` for a password that would soon be guessed; ``names`` are its owner's."""
        text = _normal(password)
        if MIN_LENGTH <= len(text) <= MAX_LENGTH:
            fault = weakness(text, [name for name in names if name])
        else:
            fault = f"must have {MIN_LENGTH} to {MAX_LENGTH} characters"
        if fault:
            raise InvalidInput(f"Choose another password: it {fault}.", "weak_password", ("password",))

    def hash(self, password: str) -> str:
        """The hash to keep. Raises :class:`Unavailable` when too many wait for their turn."""
        with self._turn():
            return self._offload(self._hasher.hash, _normal(password))

    @contextlib.contextmanager
    def verifying(self) -> Iterator[Callable[[str | None, str], bool]]:
        """Wait for one of the few turns; gives what tells whether a password fits a hash.

        None instead of a hash takes as long, and never fits. Who counts failures does it within the turn: so at
        most as many tries as there are turns slip in before a failure is counted.
        Raises :class:`Unavailable` when too many wait.
        """
        with self._turn():
            yield lambda kept, password: self._offload(self._fits, kept or _VOID, _normal(password))

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def _fits(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=_WAIT_S):
            raise Unavailable("Too many people are signing in at this moment.", "busy")
        try:
            yield
        finally:
            self._turns.release()


def _normal(password: str) -> str:
    """The same characters, however the keyboard composed them."""
    return unicodedata.normalize("NFKC", password)


def _void() -> str:
    salt, digest = (base64.b64encode(bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${salt}${digest}"


_VOID = _void()  # costs what a real hash costs, and fits no password
