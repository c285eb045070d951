"""The worker's one link to Redis: who asks it anything asks here, and learns within a quarter of a second."""

import threading
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.errors import Unavailable

log = structlog.get_logger()

_QUICK_S = 0.25
_MOST = 64  # commands at the same time, and so connections
_PROBE_S = 0.5
_TELL_EVERY_S = 60.0


class Script:
    """A script that Redis is asked for by its hash: only one that it does not know is sent."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()  # as Redis names scripts


ScriptCall = tuple[Sequence[str], Sequence[Any]]  # keys, arguments


class RedisLink:
    """Redis, guarded by one circuit breaker for all that this worker asks of it.

    The first command that finds Redis away opens it; from then on nobody waits, until a probe in the background has
    had an answer. Nothing is tried twice: a command that was not answered may have been obeyed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = self.client(_QUICK_S)
        self._slots = threading.BoundedSemaphore(_MOST)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._tell_from = 0.0
        self.away_since: float | None = None  # on the monotonic clock

    def client(self, timeout_s: float) -> redis.Redis:
        """A client of its own, outside the breaker, for who means to wait: it gives up after ``timeout_s``."""
        return redis.Redis.from_url(
            self._url,
            socket_connect_timeout=_QUICK_S,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # the shapes of answers differ between protocols
            legacy_responses=True,
        )

    def call(self, ask: Callable[[redis.Redis], Any]) -> Any:
        """What ``ask`` gets from Redis. Raises :class:`Unavailable`: at once, while Redis is known to be away."""
        if not self._slots.acquire(timeout=_QUICK_S if self.away_since is None else 0):
            raise _unavailable()
        try:
            if self.away_since is not None:  # others have found out while this one waited for its slot
                raise _unavailable()
            return ask(self._client)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._open(error)
            raise _unavailable() from error
        except redis.RedisError as error:  # it answers, but refuses: full, read only, no rights
            self._tell_refusal(error)
            raise _unavailable() from error
        except Exception as error:  # whatever the library trips over when this is closed while it waits
            if not self._closed.is_set():
                raise
            raise _unavailable() from error
        finally:
            self._slots.release()

    def ask(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        """What the script gives for each of these, in one round trip. Raises :class:`Unavailable`."""
        sent = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        told: list[Any] = self.call(lambda client: _exchange(client, sent))
        unknown = [number for number, one in enumerate(told) if isinstance(one, redis.exceptions.NoScriptError)]
        if unknown:
            again = [("EVAL", script.text, *sent[number][2:]) for number in unknown]
            for number, one in zip(unknown, self.call(lambda client: _exchange(client, again)), strict=True):
                told[number] = one
        failure = next((one for one in told if isinstance(one, redis.RedisError)), None)
        if failure is not None:
            self._tell_refusal(failure)
            raise _unavailable() from failure
        return told

    def check(self) -> None:
        """Raises :class:`Unavailable` if Redis does not answer."""
        self.call(lambda client: client.ping())

    def close(self) -> None:
        """Ask nothing any more."""
        self._closed.set()
        self._client.close()

    def _open(self, error: redis.RedisError) -> None:
        with self._lock:
            if self.away_since is not None or self._closed.is_set():
                return
            self.away_since = time.monotonic()
        log.warning("redis_away", error=type(error).__name__)
        threading.Thread(target=self._probe, name="redis-probe", daemon=True).start()

    def _probe(self) -> None:
        while not self._closed.wait(_PROBE_S):
            try:
                self._client.ping()
            except redis.RedisError:
                continue
            with self._lock:
                since, self.away_since = self.away_since or 0.0, None
            log.info("redis_back", away_s=round(time.monotonic() - since, 1))
            return

    def _tell_refusal(self, error: redis.RedisError) -> None:
        moment = time.monotonic()
        if moment >= self._tell_from:
            self._tell_from = moment + _TELL_EVERY_S
            log.warning("redis_refuses", error=str(error)[:200])


def _exchange(client: redis.Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answers, errors among them. Not by a pipeline of the library, which costs as much again as the round trip."""
    pool = client.connection_pool
    connection: Any = pool.get_connection()  # its methods have no types
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        return [_answer(connection) for _ in commands]
    except BaseException:
        connection.disconnect()  # there may be answers on it that nobody has read
        raise
    finally:
        pool.release(connection)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _unavailable() -> Unavailable:
    return Unavailable("Redis does not answer: what nodes share is kept by each for itself.", "redis_unavailable")
