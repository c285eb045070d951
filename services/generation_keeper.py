"""Keeps running generations safe: checkpoints their text, renews their leases, hears stops, reaps the dead."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count

import structlog

from domain.errors import Unavailable
from domain.observer import NOBODY, Observer
from services.generation_runner import GenerationRunner
from services.generation_store import LEASE, GenerationStore
from services.reaper import Reaper

log = structlog.get_logger()

_BEAT_S = 0.4  # from one look at who is to stop to the next
_LEAST_PAUSE_S = 0.1  # where a beat took longer than that
_TICK = 2  # beats from one checkpoint to the next: with the time it takes, no text is more than a second behind
_ALL = 6  # beats from one renewal of leases, and reaping, to the next
_MINUTE_S = 60.0  # from one round of what is done every minute to the next
_SETTLED_WITHIN = timedelta(minutes=3)  # of the end: longer than a title takes, or than an end waits for its database


class GenerationKeeper:
    """One per worker, on a schedule of its own."""

    def __init__(
        self,
        runner: GenerationRunner,
        store: GenerationStore,
        reaper: Reaper,
        every_minute: Sequence[Callable[[], None]],
        observer: Observer = NOBODY,
    ) -> None:
        self._runner = runner
        self._store = store
        self._reaper = reaper
        self._every_minute = every_minute
        self._observer = observer
        self._thread: threading.Thread | None = None
        self._reap_from = 0.0
        self._minute_from = 0.0

    def start(self) -> None:
        """Begin. To be called in the process that serves, not before it forks."""
        self._thread = threading.Thread(target=self._run, name="generation-keeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        for beat in count():
            if beat % _TICK == 0:
                self.tick(all_duties=beat % _ALL == 0)
            else:
                self._do_all([self._hear_stops])
            due = max(due + _BEAT_S, time.monotonic() + _LEAST_PAUSE_S)
            time.sleep(due - time.monotonic())

    def tick(self, *, all_duties: bool) -> None:
        """One round; leases and reaping only with ``all_duties``. A duty that fails does not keep the others."""
        duties = [self._save_texts, self._hear_stops]
        if all_duties:
            duties = [self._renew_leases, *duties, self._reap, self._sweep, *self._due()]
        self._do_all(duties)

    def _do_all(self, duties: Sequence[Callable[[], None]]) -> None:
        try:
            for duty in duties:
                self._do(duty)
        except Unavailable as error:
            # Others could not renew their leases either: after an outage they are given the time to.
            self._reap_from = time.monotonic() + LEASE.total_seconds()
            log.warning("generation_keeper_waits", error=error.message)

    def _do(self, duty: Callable[[], None]) -> None:
        began, failed = time.monotonic(), False
        try:
            duty()
        except Unavailable:
            failed = True
            raise
        except Exception:
            failed = True
            log.exception("generation_keeper_failed", duty=duty.__name__)
        finally:
            self._observer.duty_ended(duty.__name__.strip("_"), time.monotonic() - began, failed=failed)

    def _renew_leases(self) -> None:
        if live := self._runner.all():
            self._store.renew([one.turn.generation_id for one in live])

    def _save_texts(self) -> None:
        changed = [(one, one.answer.size) for one in self._runner.all() if one.answer.size != one.checkpointed]
        self._store.checkpoint([(one.turn, one.answer) for one, _ in changed])
        for one, size in changed:
            one.checkpointed = size

    def _hear_stops(self) -> None:
        if live := self._runner.all():
            unwanted = self._store.unwanted([one.turn.generation_id for one in live])
            for generation_id, reason in unwanted.items():
                self._runner.end(generation_id, reason)  # one that has ended meanwhile has nothing left to stop

    def _reap(self) -> None:
        if time.monotonic() >= self._reap_from:
            self._reaper.reap()

    def _sweep(self) -> None:
        if time.monotonic() < self._reap_from:
            return  # what could not be settled during an outage is about to be
        longest = timedelta(seconds=self._runner.upstream.deadlines.total)
        self._store.ledger.sweep(older_than=longest + _SETTLED_WITHIN)

    def _due(self) -> Sequence[Callable[[], None]]:
        if time.monotonic() < self._minute_from:
            return ()
        self._minute_from = time.monotonic() + _MINUTE_S
        return self._every_minute
