"""Throttling of password guessing, so that neither an account nor its owner suffers."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

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
    """A try that was let through. It counts as a failure until it is forgiven."""

    keys: tuple[str, ...]


class LoginGuard:
    """Counts failures per account, network and both, in windows of a minute. Nobody is ever locked out."""

    def __init__(self, counter: RateCounter) -> None:
        self._counter = counter

    def admit(self, account: str, network: str, is_known: Callable[[], bool]) -> Attempt:
        """Let a try through, or raise :class:`LimitExceeded`.

        ``is_known`` tells whether this account has signed in from this network before; it is asked only while the
        account is under attack. Tries are counted before their outcome is known: many at once gain nothing.
        """
        pair, place, target = _key("pair", account, network), _key("network", network), _key("account", account)
        attempt = self._count((pair, _PER_ACCOUNT_AND_NETWORK), (place, _PER_NETWORK))
        if self._counter.add(target, _WINDOW_S) > _PER_ACCOUNT and not is_known():
            self._count((_key("elsewhere", account, network), _FROM_ELSEWHERE))
        return Attempt((*attempt.keys, target))

    def forgive(self, attempt: Attempt) -> None:
        """The try was no failure."""
        for key in attempt.keys:
            self._counter.add(key, _WINDOW_S, -1)

    def _count(self, *limits: tuple[str, int]) -> Attempt:
        for key, most in limits:
            if self._counter.add(key, _WINDOW_S) > most:
                log.warning("login_throttled", key=key)
                wait = self._counter.seconds_left(key) or _WINDOW_S
                raise LimitExceeded("Too many failed tries. Wait a little.", "too_many_attempts", retry_after=wait)
        return Attempt(tuple(key for key, _ in limits))


def _key(kind: str, *parts: str) -> str:
    """Short, whatever was typed, and nothing that could be read back."""
    told = "\0".join((kind, *parts))
    return f"{kind}/{hashlib.sha256(told.encode()).hexdigest()[:32]}"
