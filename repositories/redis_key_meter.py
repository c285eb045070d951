"""Metering what API keys use in Redis, for all processes together, by Redis's own clock.

``unichat:key:{id}`` is a hash with what :class:`~repositories.key_window.KeyWindow` keeps: the totals ``requests`` and
``tokens``, and of each bucket n ``r<n>`` and ``t<n>``, from ``first`` to ``last``. ``...:slots`` is a sorted set of the
slots by when they free themselves.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from domain.api_keys import KeyLimits
from domain.errors import Unavailable
from repositories.key_window import BUCKET_S, LEASE_S, WINDOW_S, Measure, Reading
from repositories.redis_link import RedisLink, Script
from repositories.together import Together

_MEASURES: tuple[Measure | None, ...] = (None, "requests", "tokens", "parallel")
_WIDTH_MS, _LEASE_MS = int(BUCKET_S * 1000), int(LEASE_S * 1000)
_SOON_S = 0.005  # how long a settling waits for others, if no hold takes it along before
_FIGURES = 7  # that tell of one step
_MOST = 200  # steps in one script: Redis does nothing else meanwhile

# ARGV: milliseconds of the window, and the steps: each its letter, its slot and what it needs.
# What has left the window is taken out of the totals. A clock that was set back is waited for, up to one window.
_NOW = f"""
local width, window = {_WIDTH_MS}, tonumber(ARGV[1])
local buckets = window / width
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local n = math.floor(ms / width)
local kept = redis.call('HMGET', KEYS[1], 'first', 'last', 'requests', 'tokens')
local first, last = tonumber(kept[1] or n), tonumber(kept[2] or n)
local requests, tokens = tonumber(kept[3] or 0), tonumber(kept[4] or 0)
if last < n - buckets or last > n + buckets then
  redis.call('DEL', KEYS[1])
  first, last, requests, tokens = n, n, 0, 0
end
n = math.max(n, last)
while first < n - buckets do
  local old = redis.call('HMGET', KEYS[1], 'r' .. first, 't' .. first)
  if old[1] or old[2] then
    requests, tokens = requests - (old[1] or 0), tokens - (old[2] or 0)
    redis.call('HDEL', KEYS[1], 'r' .. first, 't' .. first)
  end
  first = first + 1
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms)
"""

_STEPS = f"""
local told, at, refused, retry = {{}}, 2, 0, 0
local function refuse(measure, letter, need)
  local wait = window
  for bucket = first, last do
    need = need - tonumber(redis.call('HGET', KEYS[1], letter .. bucket) or 0)
    if need <= 0 then
      wait = (bucket + 1 + buckets) * width - ms
      break
    end
  end
  if wait > retry then refused, retry = measure, wait end
end
-- h: tokens, and the three limits ('' for none)
local function hold(slot, asked, most_requests, most_tokens, most_parallel)
  if most_requests and requests + 1 > most_requests then refuse(1, 'r', requests + 1 - most_requests) end
  if most_tokens and tokens + asked > most_tokens then refuse(2, 't', tokens + asked - most_tokens) end
  if refused == 0 and most_parallel and redis.call('ZCARD', KEYS[2]) >= most_parallel then refused, retry = 3, 1000 end
  if refused > 0 then return end
  redis.call('HINCRBY', KEYS[1], 'r' .. n, 1)
  redis.call('HINCRBY', KEYS[1], 't' .. n, asked)
  requests, tokens, last = requests + 1, tokens + asked, n
  if most_parallel then
    redis.call('ZADD', KEYS[2], ms + {_LEASE_MS}, slot)
    redis.call('PEXPIRE', KEYS[2], {_LEASE_MS})
  end
end
local function count(letter, bucket, total, more)
  if more > 0 then
    redis.call('HINCRBY', KEYS[1], letter .. n, more)
    last = n
  elseif more < 0 then
    local field = letter .. bucket
    more = -math.min(-more, tonumber(redis.call('HGET', KEYS[1], field) or 0))
    if more < 0 then redis.call('HINCRBY', KEYS[1], field, more) end
  end
  return total + more
end
-- s: the bucket in which it was held (-1 for none), requests and tokens to count (or, negative, to give back)
local function settle(slot, bucket, more_requests, more_tokens)
  redis.call('ZREM', KEYS[2], slot)
  requests = count('r', bucket, requests, more_requests)
  tokens = count('t', bucket, tokens, more_tokens)
end
while at <= #ARGV do
  local slot, one, two, three = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  refused, retry = 0, 0
  if ARGV[at] == 'h' then
    hold(slot, tonumber(one), two, three, tonumber(ARGV[at + 5]))
    at = at + 6
  else
    settle(slot, one, two, three)
    at = at + 5
  end
  local reset = 0
  if requests > 0 or tokens > 0 then reset = (last + 1 + buckets) * width - ms end
  for _, figure in ipairs({{requests, tokens, redis.call('ZCARD', KEYS[2]), reset, n, refused, retry}}) do
    told[#told + 1] = string.format('%d', figure)
  end
end
redis.call('HSET', KEYS[1], 'first', first, 'last', last, 'requests', requests, 'tokens', tokens)
redis.call('PEXPIRE', KEYS[1], window + 2 * width)
return table.concat(told, ' ')
"""
# -> for each step in turn what becomes a Reading, in its order, with milliseconds; one text, which is read fastest
_METER = Script(_NOW + _STEPS)

_RENEW = f"""
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + {_LEASE_MS}
for i = 1, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], {_LEASE_MS})
"""


@dataclass(slots=True, eq=False)
class _Step:
    """A hold or a settling on its way. ``told`` hears how the key stands after it."""

    key_id: str
    arguments: tuple[Any, ...]
    told: Callable[[Reading], None] | None = None
    reading: Reading | None = None


class RedisKeyMeter:
    """Each hold and each settling is one step of a script: nobody comes between its looking and its counting.

    Steps that wait at the same time go together, in their order: a hold at once, with the settlings before it; those
    alone within some milliseconds.
    """

    def __init__(self, link: RedisLink, window_s: int = WINDOW_S) -> None:
        self._link = link
        self._window_ms = window_s * 1000
        self._steps = Together(self._send, _MOST)
        self._settling = threading.Event()
        self._settler: threading.Thread | None = None

    def hold(self, key_id: str, slot: str, limits: KeyLimits, tokens: int) -> Reading | None:
        """Count a request, and take a slot if those are limited. None while Redis is away."""
        most = (limits.requests_per_minute, limits.tokens_per_minute, limits.parallel_requests)
        step = _Step(key_id, ("h", slot, tokens, *("" if one is None else one for one in most)))
        self._steps.give(step)
        return step.reading

    def settle(
        self,
        key_id: str,
        slot: str,
        bucket: int | None,
        requests: int,
        tokens: int,
        told: Callable[[Reading], None] | None = None,
    ) -> None:
        """Free the slot and count the difference, soon. While Redis is away, the slot frees itself."""
        if bucket is None:  # Redis was away, and does not know of it
            bucket, requests, tokens = -1, 0, 0
        self._steps.add(_Step(key_id, ("s", slot, bucket, requests, tokens), told))
        if not self._settling.is_set():
            self._settling.set()
            self._start_settler()

    def flush(self) -> None:
        """Come back when Redis has all of it, or is away."""
        self._steps.give()

    def renew(self, slots: Sequence[tuple[str, str]]) -> None:
        """They are in use for another while, also those that were taken while Redis was away."""
        by_key: defaultdict[str, list[str]] = defaultdict(list)
        for key_id, slot in slots:
            by_key[key_id].append(slot)

        def ask(client: redis.Redis) -> None:
            with client.pipeline(transaction=False) as pipe:
                for key_id, names in by_key.items():
                    pipe.eval(_RENEW, 1, _keys(key_id)[1], *names)
                pipe.execute()

        try:
            self._link.call(ask)
        except Unavailable:
            return

    def _send(self, steps: Sequence[_Step]) -> None:
        by_key: defaultdict[str, list[_Step]] = defaultdict(list)
        for step in steps:
            by_key[step.key_id].append(step)
        calls = [(_keys(key_id), (self._window_ms, *_arguments(some))) for key_id, some in by_key.items()]
        try:
            answers = self._link.ask(_METER, calls)
        except Unavailable:
            return
        for some, answer in zip(by_key.values(), answers, strict=True):
            _tell(some, answer)

    def _start_settler(self) -> None:
        if self._settler is None:
            self._settler = threading.Thread(target=self._settle_forever, name="key-settler", daemon=True)
            self._settler.start()

    def _settle_forever(self) -> None:
        while True:
            self._settling.wait()
            time.sleep(_SOON_S)
            self._settling.clear()
            self.flush()


def _arguments(steps: Iterable[_Step]) -> Iterable[Any]:
    return (argument for step in steps for argument in step.arguments)


def _tell(steps: Sequence[_Step], answer: bytes) -> None:
    figures = list(map(int, answer.split()))
    for number, step in enumerate(steps):
        requests, tokens, running, reset_ms, bucket, refused, retry_ms = figures[number * _FIGURES :][:_FIGURES]
        measure = _MEASURES[refused]
        step.reading = Reading(requests, tokens, running, max(0, reset_ms) / 1000, bucket, measure, retry_ms / 1000)
        if step.told is not None:
            step.told(step.reading)


def _keys(key_id: str) -> tuple[str, str]:
    name = f"unichat:key:{{{key_id}}}"
    return name, name + ":slots"
