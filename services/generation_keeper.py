"""Keeps running generations safe: checkpoints their text, renews their leases, hears stops, reaps the dead."""

import threading
import time

import structlog

from domain.errors import Unavailable
from domain.generation import EndReason
from services.generation_runner import GenerationRunner
from services.generation_store import LEASE, GenerationStore

log = structlog.get_logger()

_TICK_S = 1.0
_EVERY = 5  # ticks between leases and reapings


class GenerationKeeper:
    """One per worker, on a schedule of its own."""

    def __init__(self, runner: GenerationRunner, store: GenerationStore) -> None:
        self._runner = runner
        self._store = store
        self._thread: threading.Thread | None = None
        self._reap_from = 0.0

    def start(self) -> None:
        """Begin. To be called in the process that serves, not before it forks."""
        self._thread = threading.Thread(target=self._run, name="generation-keeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        tick = 0
        while True:
            try:
                self.tick(all_duties=tick % _EVERY == 0)
            except Unavailable as error:
                # Others could not renew their leases either: after an outage they are given the time to.
                self._reap_from = time.monotonic() + LEASE.total_seconds()
                log.warning("generation_keeper_waits", error=error.message)
            except Exception:
                log.exception("generation_keeper_failed")
            tick += 1
            time.sleep(_TICK_S)

    def tick(self, *, all_duties: bool) -> None:
        """One round; leases and reaping only with ``all_duties``."""
        live = self._runner.all()
        changed = [one for one in live if one.answer.size != one.checkpointed]
        sizes = [one.answer.size for one in changed]
        self._store.checkpoint([(one.turn, one.answer) for one in changed])
        for one, size in zip(changed, sizes, strict=True):
            one.checkpointed = size
        if live:
            unwanted = self._store.unwanted([one.turn.generation_id for one in live])
            for one in live:
                if one.turn.generation_id in unwanted:
                    one.stop(EndReason.USER_STOP)
        if all_duties:
            if live:
                self._store.renew()
            if time.monotonic() >= self._reap_from:
                self._store.reap()
