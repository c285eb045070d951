"""Metering what API keys use in Redis, for all processes together, by Redis's own clock.

``unichat:key:{id}`` is a hash with what :class:`~repositories.key_window.KeyWindow` keeps: the totals ``requests`` and
``tokens``, and of each bucket n ``r<n>`` and ``t<n>``, from ``first`` to ``last``. ``...:slots`` is a sorted set of the
slots by when they free themselves.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import redis

from domain.api_keys import KeyLimits
from domain.errors import Unavailable
from repositories.key_window import BUCKET_S, LEASE_S, WINDOW_S, Measure, Reading
from repositories.redis_link import RedisLink

_MEASURES: tuple[Measure | None, ...] = (None, "requests", "tokens", "parallel")
_WIDTH_MS, _LEASE_MS = int(BUCKET_S * 1000), int(LEASE_S * 1000)

# ARGV: milliseconds of the window, and more.
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

# -> what becomes a Reading, in its order, with milliseconds; the totals are kept.
_TELL = """
redis.call('HSET', KEYS[1], 'first', first, 'last', last, 'requests', requests, 'tokens', tokens)
redis.call('PEXPIRE', KEYS[1], window + 2 * width)
local reset = 0
if requests > 0 or tokens > 0 then reset = (last + 1 + buckets) * width - ms end
return {requests, tokens, redis.call('ZCARD', KEYS[2]), reset, n, refused, retry}
"""

# ARGV: the window, slot, tokens, and the three limits ('' for none)
_HOLD = (
    _NOW
    + """
local refused, retry = 0, 0
local most = {tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])}
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
local asked = tonumber(ARGV[3])
if most[1] and requests + 1 > most[1] then refuse(1, 'r', requests + 1 - most[1]) end
if most[2] and tokens + asked > most[2] then refuse(2, 't', tokens + asked - most[2]) end
if refused == 0 and most[3] and redis.call('ZCARD', KEYS[2]) >= most[3] then refused, retry = 3, 1000 end
if refused == 0 then
  redis.call('HINCRBY', KEYS[1], 'r' .. n, 1)
  redis.call('HINCRBY', KEYS[1], 't' .. n, asked)
  requests, tokens, last = requests + 1, tokens + asked, n
"""
    + f"""
  if most[3] then
    redis.call('ZADD', KEYS[2], ms + {_LEASE_MS}, ARGV[2])
    redis.call('PEXPIRE', KEYS[2], {_LEASE_MS})
  end
end
"""
    + _TELL
)

# ARGV: the window, slot, the bucket in which it was held (-1 for none), requests and tokens to count (or, negative,
# to give back)
_SETTLE = (
    _NOW
    + """
local refused, retry = 0, 0
redis.call('ZREM', KEYS[2], ARGV[2])
local function count(letter, total, more)
  if more > 0 then
    redis.call('HINCRBY', KEYS[1], letter .. n, more)
    last = n
  elseif more < 0 then
    local field = letter .. ARGV[3]
    more = -math.min(-more, tonumber(redis.call('HGET', KEYS[1], field) or 0))
    if more < 0 then redis.call('HINCRBY', KEYS[1], field, more) end
  end
  return total + more
end
requests = count('r', requests, tonumber(ARGV[4]))
tokens = count('t', tokens, tonumber(ARGV[5]))
"""
    + _TELL
)

_RENEW = f"""
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + {_LEASE_MS}
for i = 1, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], {_LEASE_MS})
"""


class RedisKeyMeter:
    """Each hold and each settling is one script: nobody comes between its looking and its counting."""

    def __init__(self, link: RedisLink, window_s: int = WINDOW_S) -> None:
        self._link = link
        self._window_ms = window_s * 1000

    def hold(self, key_id: str, slot: str, limits: KeyLimits, tokens: int) -> Reading | None:
        """Count a request, and take a slot if those are limited. None while Redis is away."""
        most = (limits.requests_per_minute, limits.tokens_per_minute, limits.parallel_requests)
        return self._ask(_HOLD, key_id, slot, tokens, *("" if one is None else one for one in most))

    def settle(self, key_id: str, slot: str, bucket: int | None, requests: int, tokens: int) -> Reading | None:
        """Free the slot and count the difference. None while Redis is away: the slot frees itself then."""
        if bucket is None:  # Redis was away, and does not know of it
            bucket, requests, tokens = -1, 0, 0
        return self._ask(_SETTLE, key_id, slot, bucket, requests, tokens)

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

    def _ask(self, script: str, key_id: str, *arguments: Any) -> Reading | None:
        try:
            told = self._link.call(lambda client: client.eval(script, 2, *_keys(key_id), self._window_ms, *arguments))
        except Unavailable:
            return None
        requests, tokens, running, reset_ms, bucket, refused, retry_ms = map(int, told)
        return Reading(requests, tokens, running, max(0, reset_ms) / 1000, bucket, _MEASURES[refused], retry_ms / 1000)


def _keys(key_id: str) -> tuple[str, str]:
    name = f"unichat:key:{{{key_id}}}"
    return name, name + ":slots"
