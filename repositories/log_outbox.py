"""What this worker has to tell Redis: one thread sends what all its logs have to say in one go."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import msgspec
import redis
import structlog

from domain.errors import Unavailable
from repositories.log_ring import Ring
from repositories.log_scripts import APPEND, FENCED, SIGNALS, STORED, followed, keys
from repositories.redis_link import RedisLink

log = structlog.get_logger()

_EVERY_S = 0.02
_AGAIN_S = 0.25  # while Redis is away
_MOST_BYTES = 256 * 1024  # in one go, but for single events
_MOST_EVENTS = 500  # of one log in one go
_MOST_LOGS = 500  # in one go, and likewise:
_MOST_POSTS = 1000
_MAX_LOG_BYTES = 4 * 1024 * 1024
_LAST_S = 2.0  # for what is left at the end

_Verdict = tuple[int, int, int]  # as the script tells it
_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(list[_Verdict]).decode

Post = Callable[[Any], object]  # adds commands to a pipeline


@dataclass(slots=True)
class _Log:
    """A log on its way: ``sent`` of its events are in Redis, which take ``size`` bytes.

    ``session``: whose readers are to hear of it; empty once they have.
    """

    ring: Ring
    owner: str
    session: str
    sent: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Load:
    """The events of one log that go next, their bytes, and how they close it, if they do."""

    generation_id: str
    log: _Log
    events: Sequence[bytes]
    size: int
    closes: str

    @property
    def keys(self) -> tuple[str, str, str]:
        return *keys(self.generation_id), followed(self.log.session)

    @property
    def arguments(self) -> tuple[str, int, str, str, str]:
        text = b"\n".join(self.events).decode()
        return self.log.owner, self.log.sent + 1, self.closes, self.log.session, text


class Outbox:
    """Brings logs to Redis, 20 ms after an event: by then a short answer is complete. What there is goes in one step.

    ``hear`` is told ``stop`` or ``lost`` of a log. A log's ring holds all its events: what did not arrive, or was lost
    in Redis, is simply sent once more.
    """

    def __init__(self, link: RedisLink, worker: str, hear: Callable[[str, str], None]) -> None:
        self._link = link
        self._worker = worker
        self._hear = hear
        self._logs: dict[str, _Log] = {}
        self._waiting: dict[str, None] = {}  # in their order
        self._posts: deque[Post] = deque()
        self._behind_since: float | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def lag_s(self) -> float:
        """For how long something has been waiting here, in seconds."""
        since = self._behind_since
        return 0.0 if since is None else time.monotonic() - since

    def add(self, generation_id: str, ring: Ring, owner: str, session_id: str) -> None:
        """Look after a log, and tell of it to who follows its session."""
        with self._lock:
            self._logs[generation_id] = _Log(ring, owner, session_id)

    def touch(self, generation_id: str) -> None:
        """A log has something new."""
        with self._lock:
            if generation_id in self._logs:
                self._waiting[generation_id] = None
        self._stir()

    def post(self, post: Post) -> None:
        """Send these commands too, once; they are lost if Redis is away."""
        self._posts.append(post)
        self._stir()

    def close(self) -> None:
        """Send what is left, if Redis is there, and end."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_LAST_S)

    def _stir(self) -> None:
        if self._thread is None:
            self._start()
        if self._behind_since is None:
            self._behind_since = time.monotonic()
        if not self._wake.is_set():
            self._wake.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_forever, name="log-outbox", daemon=True)
                self._thread.start()

    def _send_forever(self) -> None:
        while not (self._closed and not self._is_behind()):
            self._wake.wait()
            time.sleep(_EVERY_S)
            self._wake.clear()
            try:
                self._send()
            except Unavailable:
                self._posts.clear()
                if self._closed:
                    return
                time.sleep(_AGAIN_S)
            except Exception:
                log.exception("log_outbox_failed")
                time.sleep(_AGAIN_S)
            if self._is_behind():
                self._wake.set()
            else:
                self._behind_since = None

    def _is_behind(self) -> bool:
        return bool(self._waiting or self._posts)

    def _send(self) -> None:
        loads = self._next_loads()
        posts = list(islice(self._posts, _MOST_POSTS))
        try:
            for load, verdict in zip(loads, self._deliver(loads), strict=True):
                self._note(load, *verdict)
            if posts:  # after the logs: who hears of one finds it
                self._link.call(lambda client: _carry_out(client, posts))
        except Exception:
            self._wait_again(loads)  # whatever has arrived is not stored twice
            raise
        for _ in posts:
            self._posts.popleft()

    def _deliver(self, loads: Sequence[_Load]) -> Sequence[_Verdict]:
        if not loads:
            return ()
        names = [SIGNALS, *chain.from_iterable(load.keys for load in loads)]
        (told,) = self._link.ask(APPEND, [(names, (_encode([load.arguments for load in loads]), self._worker))])
        return _decode(told)

    def _next_loads(self) -> list[_Load]:
        loads, size = list[_Load](), 0
        while self._waiting and size < _MOST_BYTES and len(loads) < _MOST_LOGS:
            with self._lock:
                generation_id = next(iter(self._waiting))
                del self._waiting[generation_id]  # before it is looked at: what comes from now on is noted anew
            load = _load(generation_id, self._logs[generation_id])
            loads.append(load)
            size += load.size
        return loads

    def _wait_again(self, loads: Sequence[_Load]) -> None:
        with self._lock:
            again = [load.generation_id for load in loads if load.generation_id in self._logs]
            self._waiting = dict.fromkeys(again) | self._waiting

    def _note(self, load: _Load, verdict: int, newest: int, stop: int) -> None:
        entry = load.log
        if verdict == STORED:
            entry.session = ""
        if newest == entry.sent + len(load.events):
            entry.sent, entry.size = newest, entry.size + load.size
        else:  # Redis has lost some, or has had some already
            entry.sent, entry.size = newest, sum(map(len, entry.ring.events[:newest]))
        if verdict == FENCED or (verdict == STORED and load.closes):
            with self._lock:
                self._logs.pop(load.generation_id, None)
                self._waiting.pop(load.generation_id, None)
            if verdict == FENCED:
                self._hear("lost", load.generation_id)
            return
        if stop:
            self._hear("stop", load.generation_id)
        if newest < len(entry.ring.events) or entry.ring.ended:
            self.touch(load.generation_id)


def _load(generation_id: str, entry: _Log) -> _Load:
    """What of a log goes next: as much as one go may hold, and not more than a log may hold in Redis."""
    ended, start = entry.ring.ended, entry.sent
    events, size = list[bytes](), 0
    for event in entry.ring.events[start : start + _MOST_EVENTS]:
        if entry.size + size + len(event) > _MAX_LOG_BYTES:
            return _Load(generation_id, entry, events, size, "cut")
        events.append(event)
        size += len(event)
        if size >= _MOST_BYTES:
            break
    is_all = start + len(events) == len(entry.ring.events)
    return _Load(generation_id, entry, events, size, "end" if ended and is_all else "")


def _carry_out(client: redis.Redis, posts: Sequence[Post]) -> None:
    with client.pipeline(transaction=False) as pipe:
        for post in posts:
            post(pipe)
        pipe.execute()
