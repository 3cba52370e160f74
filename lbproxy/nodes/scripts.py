"""CONTROL. The Lua scripts that run in Redis. They use its clock, not those of the nodes.

The first line of each script is its name, by which :class:`lbproxy.testing.redis.FakeRedis`
recognises it.
"""

from __future__ import annotations

from typing import Final

from lbproxy.limits.window import SLICES
from lbproxy.net.redis import RedisScript

__all__ = ["BUCKETS", "LEASE", "PLACES", "RELEASE", "TAKE", "WINDOWS", "WRONG"]

WRONG: Final = -1
"""Reply for a key whose value was not written by lbproxy. The value is not changed."""

# Redis below 7 refuses writes after TIME unless it replicates effects
_NOW: Final = """
if redis.replicate_commands then pcall(redis.replicate_commands) end
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
"""

# A key of another kind or with a strange value fails alone. Other errors (no memory, no permission,
# a replica) fail the whole script. Times are bounded so that Redis accepts them as integers.
_EACH: Final = """
local function number(text)
  local found = tonumber(text)
  if not found or found ~= found or math.abs(found) > 1e13 then error('strange value', 0) end
  return found
end
local function milliseconds(seconds)
  return string.format('%.0f', math.min(math.ceil(seconds * 1000), 1e15))
end
local function each(run)
  local out = {}
  for i = 1, #KEYS do
    local good, found = pcall(run, i)
    if not good then
      local why = type(found) == 'table' and found.err or tostring(found)
      if not (why:find('WRONGTYPE', 1, true) or why:find('strange value', 1, true)
              or why:find('not a float', 1, true) or why:find('NaN', 1, true)) then
        error(found, 0)
      end
      found = -1
    end
    out[i] = found
  end
  return out
end
"""

BUCKETS = RedisScript(
    "-- buckets"
    + _NOW
    + _EACH
    + """
return each(function(i)
  local full = number(redis.call('GET', KEYS[i]) or '0')
  if full < now then full = now end
  local debt = math.min(tonumber(ARGV[i]), 1e12)
  full = math.min(full + debt, now + 1e12)
  if debt > 0 then
    redis.call('SET', KEYS[i], string.format('%.6f', full), 'PX', milliseconds(full - now + 0.001))
  end
  return math.floor((full - now) * 1e6 + 0.5)
end)
"""
)
"""KEYS: buckets. ARGV: seconds to charge to each. Returns microseconds until each is full, or
:data:`WRONG`.
"""

WINDOWS = RedisScript(
    "-- windows"
    + _NOW
    + _EACH
    + f"""
return each(function(i)
  local slice, amount = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local index = math.floor(now / slice)
  if ARGV[3 * i] == '1' then redis.call('DEL', KEYS[i]) end
  if amount ~= 0 then
    redis.call('HINCRBYFLOAT', KEYS[i], string.format('%.0f', index), ARGV[3 * i - 1])
    redis.call('PEXPIRE', KEYS[i], milliseconds(slice * {SLICES}))
  end
  local all, row = redis.call('HGETALL', KEYS[i]), {{}}
  for j = 1, #all, 2 do
    local age = index - number(all[j])
    if age >= {SLICES} then
      redis.call('HDEL', KEYS[i], all[j])
    else
      number(all[j + 1])
      row[#row + 1] = math.max(0, age)
      row[#row + 1] = all[j + 1]
    end
  end
  return row
end)
"""
)
"""KEYS: windows. ARGV for each: the length of a slice, the amount to count, 1 to delete earlier
counts. Returns age in slices and count, alternately, for each, or :data:`WRONG`.
"""

PLACES = RedisScript(
    "-- places"
    + _NOW
    + _EACH
    + """
local field, lease = ARGV[1] .. '/' .. ARGV[2], tonumber(ARGV[3])
local node = ARGV[1] .. '/'
return each(function(i)
  local own, others = ARGV[3 + i], 0
  if own ~= '0' then
    redis.call('HSET', KEYS[i], field, own .. ' ' .. string.format('%.3f', now + lease))
    redis.call('PEXPIRE', KEYS[i], milliseconds(lease))
  else
    redis.call('HDEL', KEYS[i], field)
  end
  local all = redis.call('HGETALL', KEYS[i])
  for j = 1, #all, 2 do
    local count, ends = string.match(all[j + 1], '^(%d+) ([%d.]+)$')
    if number(ends) <= now then
      redis.call('HDEL', KEYS[i], all[j])
    elseif string.sub(all[j], 1, #node) ~= node then
      others = others + number(count)
    end
  end
  return others
end)
"""
)
"""KEYS: keys of limits. ARGV: node, process, seconds of a lease, then the number of places of each
key that the process holds. Returns the places that other nodes hold, or :data:`WRONG`.
"""

TAKE = RedisScript(
    "-- take"
    + _NOW
    + _EACH
    + """
local unit, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
unit = math.min(unit, 1e12 / math.max(burst, 1))
local full = number(redis.call('GET', KEYS[1]) or '0')
if full < now then full = now end
local wait = full - now + (cost - burst) * unit -- a sum with full would lose microseconds
full = full + cost * unit
if wait > 1e-6 then return math.ceil(wait * 1e6) end
redis.call('SET', KEYS[1], string.format('%.6f', full), 'PX', milliseconds(full - now + 0.001))
return 0
"""
)
"""KEYS: a limit. ARGV: seconds of a unit, burst, cost. Returns microseconds to wait; 0: taken."""

LEASE = RedisScript(
    """-- lease
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
"""KEYS: a name. ARGV: holder, milliseconds. Returns 1 if the holder has it now."""

RELEASE = RedisScript(
    """-- release
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""
)
"""KEYS: a name. ARGV: the holder that releases it."""
