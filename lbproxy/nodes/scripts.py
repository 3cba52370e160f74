"""CONTROL. The Lua scripts that run in Redis.  They read its clock, not those of nodes.

The first line of each names it; :class:`lbproxy.testing.redis.FakeRedis` knows the scripts by it.
"""

from __future__ import annotations

from typing import Final

from lbproxy.limits.window import SLICES
from lbproxy.net.redis import RedisScript

__all__ = ["BUCKETS", "LEASE", "RELEASE", "TAKE", "WINDOWS"]

# Redis below 7 refuses writes after TIME unless it replicates effects
_NOW: Final = """
if redis.replicate_commands then pcall(redis.replicate_commands) end
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
"""

BUCKETS = RedisScript(
    "-- buckets"
    + _NOW
    + """
local out = {}
for i = 1, #KEYS do
  local full = tonumber(redis.call('GET', KEYS[i]) or '0')
  if full < now then full = now end
  local debt = tonumber(ARGV[i])
  full = full + debt
  if debt > 0 then
    redis.call('SET', KEYS[i], string.format('%.6f', full),
               'PX', math.ceil((full - now) * 1000) + 1)
  end
  out[i] = math.floor((full - now) * 1e6 + 0.5)
end
return out
"""
)
"""KEYS: buckets.  ARGV: seconds to charge to each.  Gives microseconds until each is full."""

WINDOWS = RedisScript(
    "-- windows"
    + _NOW
    + f"""
local out = {{}}
for i = 1, #KEYS do
  local slice, amount = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local index = math.floor(now / slice)
  if ARGV[3 * i] == '1' then redis.call('DEL', KEYS[i]) end
  if amount ~= 0 then
    redis.call('HINCRBYFLOAT', KEYS[i], string.format('%d', index), ARGV[3 * i - 1])
    redis.call('PEXPIRE', KEYS[i], math.ceil(slice * {SLICES} * 1000))
  end
  local all, row = redis.call('HGETALL', KEYS[i]), {{}}
  for j = 1, #all, 2 do
    local age = index - tonumber(all[j])
    if age >= {SLICES} then
      redis.call('HDEL', KEYS[i], all[j])
    else
      row[#row + 1] = math.max(0, age)
      row[#row + 1] = all[j + 1]
    end
  end
  out[i] = row
end
return out
"""
)
"""KEYS: windows.  ARGV: of each the length of a slice, the amount to count, 1 to forget what was
counted before.  Gives age in slices and count, alternately, of each.
"""

TAKE = RedisScript(
    "-- take"
    + _NOW
    + """
local each, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
if full < now then full = now end
full = full + cost * each
local wait = full - burst * each - now
if wait > 1e-6 then return math.ceil(wait * 1e6) end
redis.call('SET', KEYS[1], string.format('%.6f', full), 'PX', math.ceil((full - now) * 1000) + 1)
return 0
"""
)
"""KEYS: a limit.  ARGV: seconds of a unit, burst, cost.  Gives microseconds to wait, 0: taken."""

LEASE = RedisScript(
    """-- lease
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
"""KEYS: a name.  ARGV: holder, milliseconds.  Gives 1 if the holder has it now."""

RELEASE = RedisScript(
    """-- release
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""
)
"""KEYS: a name.  ARGV: the holder that gives it back."""
