"""Throttling of password guessing, so that neither an account nor its owner suffers."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import structlog

from domain.errors import LimitExceeded
from repositories.rate_counter import RateCounter

log = structlog.get_logger()

_WINDOW_S = 60
_PER_ACCOUNT_AND_NETWORK = 5
_PER_NETWORK = 30
_PER_ACCOUNT = 30
_FROM_ELSEWHERE = 1  # for networks that are new to an account under attack: its owner may be travelling


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that was let through: the counters that it goes to if it fails."""

    pair: str
    network: str
    account: str

    @classmethod
    def of(cls, account: str, network: str) -> Self:
        """The try of ``account`` from ``network``."""
        return cls(_key("pair", account, network), _key("network", network), _key("account", account))


class LoginGuard:
    """Counts failures per account, network and both, in windows of a minute. Nobody is ever locked out."""

    def __init__(self, counter: RateCounter) -> None:
        self._counter = counter

    def admit(self, account: str, network: str, is_known: Callable[[], bool]) -> Attempt:
        """Let a try through, or raise :class:`LimitExceeded`.

        ``is_known`` tells whether this account has signed in from this network before; it is asked only while the
        account is under attack.
        """
        attempt = Attempt.of(account, network)
        attacked = self._failures(attempt.account) >= _PER_ACCOUNT and not is_known()
        self._require_fewer(attempt.pair, _FROM_ELSEWHERE if attacked else _PER_ACCOUNT_AND_NETWORK)
        self._require_fewer(attempt.network, _PER_NETWORK)
        return attempt

    def failed(self, attempt: Attempt) -> None:
        """Count the try."""
        for key in (attempt.pair, attempt.network, attempt.account):
            self._counter.add(key, _WINDOW_S)

    def _require_fewer(self, key: str, most: int) -> None:
        if self._failures(key) >= most:
            log.warning("login_throttled", key=key)
            wait = self._counter.seconds_left(key)
            raise LimitExceeded("Too many failed tries. Wait a little.", "too_many_attempts", retry_after=wait)

    def _failures(self, key: str) -> int:
        return self._counter.add(key, _WINDOW_S, 0)


def _key(kind: str, *parts: str) -> str:
    """Short, whatever was typed, and nothing that could be read back."""
    told = "\0".join((kind, *parts))
    return f"{kind}/{hashlib.sha256(told.encode()).hexdigest()[:32]}"
