"""Signals between workers, on one Redis stream that all of them read."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import structlog

from repositories.log_scripts import SIGNALS
from repositories.signals import Signal

log = structlog.get_logger()

_KEPT = 10_000  # more than come while a reader is between two reads


class RedisSignals:
    """Sends by ``post``, which brings commands to Redis soon; what comes in is given to :meth:`hear`."""

    def __init__(self, worker: str, post: Callable[[Callable[[Any], object]], None]) -> None:
        self._worker = worker
        self._post = post
        self._listeners: defaultdict[str, list[Callable[[str], None]]] = defaultdict(list)

    def send(self, signal: Signal, name: str) -> None:
        """Tell the others."""
        fields = {"signal": signal, "name": name, "from": self._worker}
        self._post(lambda pipe: pipe.xadd(SIGNALS, fields, maxlen=_KEPT, approximate=True))

    def listen(self, signal: Signal, hear: Callable[[str], None]) -> None:
        """Have ``hear`` called for each such signal of another worker."""
        self._listeners[signal].append(hear)

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
