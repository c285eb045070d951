"""Signals between workers, on one Redis stream that all of them read."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import redis
import structlog

from domain.errors import Unavailable
from repositories.log_scripts import FOLLOWED_MS, SIGNALS, SIGNALS_KEPT, followed
from repositories.redis_link import RedisLink
from repositories.signals import Signal

log = structlog.get_logger()


class RedisSignals:
    """Sends by ``post``, which brings commands to Redis soon; what comes in is given to :meth:`hear`."""

    def __init__(self, link: RedisLink, worker: str, post: Callable[[Callable[[Any], object]], None]) -> None:
        self._link = link
        self._worker = worker
        self._post = post
        self._listeners: defaultdict[str, list[Callable[[str], None]]] = defaultdict(list)

    def send(self, signal: Signal, name: str) -> None:
        """Tell the others."""
        fields = {"signal": signal, "name": name, "from": self._worker}
        self._post(lambda pipe: pipe.xadd(SIGNALS, fields, maxlen=SIGNALS_KEPT, approximate=True))

    def listen(self, signal: Signal, hear: Callable[[str], None]) -> None:
        """Have ``hear`` called for each such signal of another worker."""
        self._listeners[signal].append(hear)

    def follow(self, session_ids: Iterable[str]) -> None:
        """Have turns of these sessions told here for a minute, from when this returns."""

        def ask(client: redis.Redis) -> None:
            with client.pipeline(transaction=False) as pipe:
                for session_id in session_ids:
                    pipe.set(followed(session_id), 1, px=FOLLOWED_MS)
                pipe.execute()

        with suppress(Unavailable):
            self._link.call(ask)

    def hear(self, fields: dict[bytes, bytes]) -> None:
        """Somebody has sent a signal."""
        if fields.get(b"from") != self._worker.encode():
            self.hear_own(fields.get(b"signal", b"").decode(), fields.get(b"name", b"").decode())

    def hear_own(self, signal: str, name: str) -> None:
        """Tell the listeners of this worker. One that fails keeps nobody from the news."""
        for hear in self._listeners.get(signal, ()):
            try:
                hear(name)
            except Exception:
                log.exception("signal_failed", signal=signal, name=name)
