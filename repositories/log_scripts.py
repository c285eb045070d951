"""How a log lies in Redis, and the scripts that change it: each is one step, and may be repeated.

``unichat:log:{id}`` is a stream whose entry ``<n>-0`` is event n. The entry ``<last>-1`` closes it: with the field
``end`` nothing follows; with ``cut`` the rest is not here: it was too large, or its worker died. ``...:meta`` is a
hash: ``owner``, the only one who may write, and ``stop`` once somebody wants the end.
"""

SIGNALS = "unichat:signals"
RUNNING_MS = 900_000  # after the last event; a log that is gone too early is written anew with the next one
ENDED_MS = 300_000


def keys(generation_id: str) -> tuple[str, str]:
    """The stream and the hash of a log."""
    name = f"unichat:log:{generation_id}"
    return name, name + ":meta"


_NEWEST = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local seq, closed = 0, 0
if newest[1] then
  seq, closed = string.match(newest[1][1], '(%d+)-(%d+)')
  seq, closed = tonumber(seq), tonumber(closed)
end
"""

# ARGV: owner, milliseconds to live, number of the first event, how it closes ('' if it does not), events
# -> {verdict, number of the newest event there, whether a stop is wanted}
STORED, GAP, FENCED = 0, 1, 2
APPEND = (
    """
local owner = redis.call('HGET', KEYS[2], 'owner')
if owner and owner ~= ARGV[1] then return {2, 0, 0} end
"""
    + _NEWEST
    + """
local first = tonumber(ARGV[3])
if seq < first - 1 then return {1, seq, 0} end
if closed == 0 then
  for n = seq + 1, first + #ARGV - 5 do
    redis.call('XADD', KEYS[1], n .. '-0', 'd', ARGV[n - first + 5])
    seq = n
  end
  if ARGV[4] ~= '' then redis.call('XADD', KEYS[1], seq .. '-1', ARGV[4], '1') end
end
redis.call('HSET', KEYS[2], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {0, seq, redis.call('HEXISTS', KEYS[2], 'stop')}
"""
)

# ARGV: owner, milliseconds to live
CUT = (
    """
redis.call('HSET', KEYS[2], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
"""
    + _NEWEST
    + """
if seq == 0 or closed > 0 then return 0 end
redis.call('XADD', KEYS[1], seq .. '-1', 'cut', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
