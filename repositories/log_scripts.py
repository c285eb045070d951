"""How a log lies in Redis, and the scripts that change it: each is one step, and may be repeated.

``unichat:log:{id}`` is a stream whose entry ``<n>-0`` is event n. The entry ``<last>-1`` closes it: with the field
``end`` nothing follows; with ``cut`` the rest is not here: it was too large, or its worker died. ``...:meta`` is a
hash: ``owner``, the only one who may write, and ``stop`` once somebody wants the end.

``unichat:followed:{session}`` is there while some worker has readers of that session: only then is its turn worth a
signal to all workers.
"""

from repositories.redis_link import Script

SIGNALS = "unichat:signals"
SIGNALS_KEPT = 10_000  # more than come while a reader is between two reads
FOLLOWED_MS = 60_000
RUNNING_MS = 900_000  # after the last event; a log that is gone too early is written anew with the next one
ENDED_MS = 300_000


def keys(generation_id: str) -> tuple[str, str]:
    """The stream and the hash of a log."""
    name = f"unichat:log:{generation_id}"
    return name, name + ":meta"


def followed(session_id: str) -> str:
    """What says that a session is followed."""
    return f"unichat:followed:{session_id}"


_NEWEST = """
local newest = redis.call('XREVRANGE', {}, '+', '-', 'COUNT', 1)
local seq, closed = 0, 0
if newest[1] then
  seq, closed = string.match(newest[1][1], '(%d+)-(%d+)')
  seq, closed = tonumber(seq), tonumber(closed)
end
"""

# KEYS: the signals; then of each log the stream, the hash, and what says that its session is followed.
# ARGV: of each log owner, number of the first event, how it closes ('' if it does not), session ('' if those who
# follow it know of the turn), and events, one a line; all in MessagePack. Then the worker.
# -> of each log verdict, number of the newest event there, and whether a stop is wanted; likewise
STORED, GAP, FENCED = 0, 1, 2
APPEND = Script(
    """
local function append(log, meta, followed, owner, first, closes, session, events)
  local known = redis.call('HMGET', meta, 'owner', 'stop')
  if known[1] and known[1] ~= owner then return {2, 0, 0} end
"""
    + _NEWEST.format("log")
    + f"""
  if seq < first - 1 then return {{1, seq, 0}} end
  if closed == 0 then
    local n = first
    for event in string.gmatch(events, '[^\\n]+') do
      if n > seq then
        redis.call('XADD', log, n .. '-0', 'd', event)
        seq = n
      end
      n = n + 1
    end
    if closes ~= '' then redis.call('XADD', log, seq .. '-1', closes, '1') end
  end
  local ttl = closes == '' and {RUNNING_MS} or {ENDED_MS}
  if not known[1] then redis.call('HSET', meta, 'owner', owner) end
  redis.call('PEXPIRE', log, ttl)
  redis.call('PEXPIRE', meta, ttl)
  if session ~= '' and redis.call('EXISTS', followed) == 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', {SIGNALS_KEPT}, '*', 'signal', 'turn', 'name', session, 'from', ARGV[2])
  end
  return {{0, seq, known[2] and 1 or 0}}
end
local verdicts = {{}}
for n, load in ipairs(cmsgpack.unpack(ARGV[1])) do
  verdicts[n] = append(KEYS[3 * n - 1], KEYS[3 * n], KEYS[3 * n + 1], unpack(load))
end
return cmsgpack.pack(verdicts)
"""
)

# ARGV: owner, milliseconds to live
CUT = (
    """
redis.call('HSET', KEYS[2], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
"""
    + _NEWEST.format("KEYS[1]")
    + """
if seq == 0 or closed > 0 then return 0 end
redis.call('XADD', KEYS[1], seq .. '-1', 'cut', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
