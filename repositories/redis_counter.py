"""Counting within a time window, in Redis, for all processes together."""

from domain.errors import Unavailable
from repositories.redis_link import RedisLink, Script

_PREFIX = "unichat:count:"
_ADD = Script("""
local total = redis.call('INCRBY', KEYS[1], ARGV[2])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  left = tonumber(ARGV[1])
end
return {total, left}
""")


class RedisCounter:
    """One number per key, which goes when its window ends."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def add(self, key: str, window_s: int, amount: int) -> tuple[int, float] | None:
        """Count; how many there are now and the seconds until the window ends. None while Redis is away."""
        try:
            ((total, left),) = self._link.ask(_ADD, [((_PREFIX + key,), (window_s * 1000, amount))])
        except Unavailable:
            return None
        return int(total), int(left) / 1000
