"""The limits of API keys: requests and tokens per minute, and requests at the same time; see docs/limits.md."""

import threading
import time
import weakref
from typing import Self

from domain.api_keys import Allowance, KeyGrant, KeyLimits, KeyStanding
from domain.chat import ChatRequest, ModelInfo
from domain.errors import LimitExceeded
from domain.identifiers import new_id
from repositories.key_meter import KeyMeter, Ticket
from repositories.key_window import WINDOW_S, Reading

RENEW_EVERY_S = 4.0  # a third of a slot's lease
UNSAID_ANSWER = 500  # tokens that an answer is taken for if nobody says how long it may be
_UNSAID_SHARE = 10  # or that part of the key's limit, if it is less
_REMEMBERED = 10_000  # keys

_WORDS = {"requests": "requests per minute", "tokens": "tokens per minute", "parallel": "requests at the same time"}


class Held:
    """What one request holds of its key's limits, until it is settled or cancelled: once, whichever comes first.

    If its owner forgets it, its slot frees itself. ``with held: ...`` cancels it if that fails. ``standing``: how the
    key stood when it was let in.
    """

    __slots__ = ("__weakref__", "_limiter", "_lock", "standing", "ticket")

    def __init__(
        self, limiter: "KeyLimiter | None" = None, ticket: Ticket | None = None, standing: KeyStanding | None = None
    ) -> None:
        self._limiter = limiter
        self._lock = threading.Lock()
        self.ticket = ticket
        self.standing = standing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()

    def settle(self, tokens_used: int | None) -> None:
        """The request is over: its slot is free, and it counts what it has used. None: nobody knows how much it was."""
        if ticket := self._take():
            more = 0 if tokens_used is None else tokens_used - ticket.tokens
            self._end(ticket, 0, more)

    def cancel(self) -> None:
        """The request was not made after all: it costs nothing."""
        if ticket := self._take():
            self._end(ticket, -1, -ticket.tokens)

    def _take(self) -> Ticket | None:
        with self._lock:
            ticket, self.ticket = self.ticket, None
        return ticket

    def _end(self, ticket: Ticket, requests: int, tokens: int) -> None:
        if self._limiter is not None:
            self._limiter.end(ticket, requests, tokens)


class KeyLimiter:
    """Lets requests in, or not. One thread keeps the slots of all that run in this worker."""

    def __init__(self, meter: KeyMeter) -> None:
        self._meter = meter
        self._held: weakref.WeakValueDictionary[str, Held] = weakref.WeakValueDictionary()
        self._standings: dict[str, tuple[float, KeyStanding]] = {}
        self._keeper: threading.Thread | None = None
        self._lock = threading.Lock()

    def hold(self, key: KeyGrant | None, tokens: int) -> Held:
        """Let a request in that may use so many tokens; whoever asks settles or cancels what it gets.

        Raises LimitExceeded, with the standing, if a limit of the key's does not allow it: then it costs nothing.
        """
        if key is None or key.limits == _NO_LIMITS:
            return Held()
        most = key.limits.tokens_per_minute
        if most is not None and tokens > most:
            raise _too_large(tokens, most, self.standing(key))
        ticket, reading = self._meter.hold(key.id, new_id("slot"), key.limits, tokens)
        standing = self._tell(key.id, key.limits, reading)
        if ticket is None:
            raise _refusal(key.limits, reading, standing)
        held = Held(self, ticket, standing)
        if key.limits.parallel_requests is not None:
            self._keep(held, ticket)
        return held

    def hold_chat(self, key: KeyGrant | None, prompt: int, request: ChatRequest, model: ModelInfo) -> Held:
        """The same for a request to ``model`` whose prompt has so many tokens."""
        longest = request.max_tokens and min(request.max_tokens, model.max_output)
        return self.hold(key, tokens_to_hold(key, prompt, longest, request.choices))

    def end(self, ticket: Ticket, requests: int, tokens: int) -> None:
        """See :class:`Held`."""
        self._held.pop(ticket.slot, None)
        self._foretell(ticket.key_id, requests, tokens)
        self._meter.settle(ticket, requests, tokens, lambda reading: self._note(ticket, reading))

    def flush(self) -> None:
        """Come back when all workers know what has been settled here."""
        self._meter.flush()

    def standing(self, key: KeyGrant) -> KeyStanding:
        """How the key stands, as far as this worker has heard."""
        told_at, told = self._standings.get(key.id, (0.0, KeyStanding()))
        age = time.monotonic() - told_at
        limits = key.limits
        return KeyStanding(
            _aged(limits.requests_per_minute, told.requests, age), _aged(limits.tokens_per_minute, told.tokens, age)
        )

    def renew(self) -> None:
        """Keep the slots of what still runs."""
        running = [(held, ticket) for held in self._held.values() if (ticket := held.ticket)]
        self._meter.renew([ticket for _, ticket in running])
        for held, ticket in running:
            if held.ticket is None:  # it has ended meanwhile: its slot may have been taken anew
                self._meter.settle(ticket, 0, 0, lambda _: None)

    def _foretell(self, key_id: str, requests: int, tokens: int) -> None:
        """What its next answer may say before the meter has told how the key stands."""
        told_at, told = self._standings.get(key_id, (0.0, KeyStanding()))
        standing = KeyStanding(_changed(told.requests, requests), _changed(told.tokens, tokens))
        self._standings[key_id] = (told_at, standing)

    def _note(self, ticket: Ticket, reading: Reading) -> None:
        self._tell(ticket.key_id, ticket.limits, reading)

    def _tell(self, key_id: str, limits: KeyLimits, reading: Reading) -> KeyStanding:
        standing = _standing(limits, reading)
        if key_id not in self._standings and len(self._standings) >= _REMEMBERED:
            self._standings.clear()
        self._standings[key_id] = (time.monotonic(), standing)
        return standing

    def _keep(self, held: Held, ticket: Ticket) -> None:
        self._held[ticket.slot] = held
        with self._lock:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._renew_forever, name="key-slots", daemon=True)
                self._keeper.start()

    def _renew_forever(self) -> None:
        while True:
            time.sleep(RENEW_EVERY_S)
            with self._lock:
                if not self._held:
                    self._keeper = None
                    return
            self.renew()


def tokens_to_hold(key: KeyGrant | None, prompt: int, longest: int | None, choices: int = 1) -> int:
    """What a request is held at: its prompt, and the longest that its answers may be; None: that is not said."""
    if longest is not None:
        return prompt + longest * choices
    most = key.limits.tokens_per_minute if key else None
    return prompt + (UNSAID_ANSWER if most is None else min(UNSAID_ANSWER, most // _UNSAID_SHARE)) * choices


_NO_LIMITS = KeyLimits()


def _standing(limits: KeyLimits, reading: Reading) -> KeyStanding:
    most, tokens = limits.requests_per_minute, limits.tokens_per_minute
    return KeyStanding(
        None if most is None else Allowance(most, reading.requests, reading.reset_s),
        None if tokens is None else Allowance(tokens, reading.tokens, reading.reset_s),
    )


def _aged(limit: int | None, told: Allowance | None, age: float) -> Allowance | None:
    if limit is None:
        return None
    if told is None or age >= told.reset_s:
        return Allowance(limit, 0, 0.0)
    return Allowance(limit, told.used, told.reset_s - age)


def _changed(told: Allowance | None, by: int) -> Allowance | None:
    return told and Allowance(told.limit, max(0, told.used + by), told.reset_s)


def _refusal(limits: KeyLimits, reading: Reading, standing: KeyStanding) -> LimitExceeded:
    most = {
        "requests": limits.requests_per_minute,
        "tokens": limits.tokens_per_minute,
        "parallel": limits.parallel_requests,
    }
    measure = reading.refused or "requests"
    message = f"The API key's limit of {most[measure]:,} {_WORDS[measure]} is reached."
    return LimitExceeded(message, f"key_{measure}_limited", retry_after=reading.retry_s, standing=standing)


def _too_large(tokens: int, most: int, standing: KeyStanding) -> LimitExceeded:
    message = (
        f"The request may use {tokens:,} tokens, its prompt and its longest answer together: more than the API key's "
        f"limit of {most:,} tokens per minute. A smaller prompt or max_tokens would be let in."
    )
    return LimitExceeded(message, "key_request_too_large", retry_after=WINDOW_S, standing=standing)
