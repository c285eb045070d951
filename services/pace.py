"""How fast a target that fails may be asked again."""

import threading
from dataclasses import dataclass

_MANY = 1000


@dataclass(slots=True)
class _Trouble:
    last_failure: float
    attempts: list[float]  # when each ended; when it began, while it is under way


class Pace:
    """At most ``attempts`` within ``seconds`` go to a target in trouble, whichever turns they belong to.

    Trouble begins with a failure, and ends with a whole answer or when nothing has failed for ``seconds``. A target
    that is not in trouble may be asked as often as there are turns. Moments are seconds on any one clock.
    """

    def __init__(self, attempts: int = 4, seconds: float = 3) -> None:
        self._most = attempts
        self._seconds = seconds
        self._troubles: dict[str, _Trouble] = {}
        self._lock = threading.Lock()

    def enter(self, target: str, now: float) -> float:
        """Seconds until the target may be asked; 0 for now, and then the attempt is counted."""
        if target not in self._troubles:  # nearly always, so it costs no lock
            return 0
        with self._lock:
            trouble = self._current(target, now)
            if trouble is None:
                return 0
            if len(trouble.attempts) >= self._most:
                return max(min(trouble.attempts) + self._seconds - now, 0.001)
            trouble.attempts.append(now)
            return 0

    def failed(self, target: str, started: float, now: float) -> None:
        """An attempt that began at ``started`` failed."""
        with self._lock:
            trouble = self._current(target, now)
            if trouble is None:
                self._forget_old(now)
                trouble = self._troubles[target] = _Trouble(now, [])
            trouble.last_failure = now
            if started in trouble.attempts:
                trouble.attempts.remove(started)
            trouble.attempts.append(now)  # the provider saw it at some time until now

    def answered(self, target: str) -> None:
        """The target gave a whole answer."""
        if target in self._troubles:
            with self._lock:
                self._troubles.pop(target, None)

    def _current(self, target: str, now: float) -> _Trouble | None:
        trouble = self._troubles.get(target)
        if trouble is None:
            return None
        if now - trouble.last_failure >= self._seconds:
            del self._troubles[target]
            return None
        trouble.attempts = [moment for moment in trouble.attempts if now - moment < self._seconds]
        return trouble

    def _forget_old(self, now: float) -> None:
        """Model names come from outside; the targets that were in trouble once must not fill the memory."""
        if len(self._troubles) >= _MANY:
            for target in list(self._troubles):
                self._current(target, now)
