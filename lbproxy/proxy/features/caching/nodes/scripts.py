"""DATA. The Lua scripts of the cache that run in Redis.

The first line of each script is its name, by which :class:`lbproxy.testing.redis.FakeRedis`
identifies it. Keys of all scripts: the state, the purged names, the purged prefixes, the log of
purges, the recently purged names, and a bitmap of the names of stored responses.

``state`` has these fields:

- ``epoch``: a random word, which changes whenever purges may have been lost.
- ``seq``: the number of the last purge.
- ``floor``: responses stored before the purge with this number are purged.
- ``trimmed``: the last purge that is no longer in the log.
- ``late``: the last purge that is no longer among the recently purged names.
- ``count``: the number of members of the sorted sets, and 1 for the bitmap, to detect an eviction
  of one of them.

The keys expire together, :data:`KEPT` seconds after the last node of this Redis process. Members of
names and prefixes begin with ``1`` for a soft purge and ``0`` for others. Their score is the number
of the purge.

A name that no stored response has is only kept as a recently purged name, so that unsafe requests
for any number of URLs do not displace the purges of stored responses. It is needed when a response
is stored whose node did not know the purge yet. Names that share a bit of the bitmap are only kept
for longer than necessary.
"""

from __future__ import annotations

from typing import Final

from lbproxy.net.redis import RedisScript

__all__ = ["BITS", "DROP", "GET", "KEPT", "LOGGED", "NAMES", "PREFIXES", "PURGE", "PUT", "RECENT",
           "SYNC"]  # fmt: skip

NAMES: Final = 100_000
"""Number of purged names that are kept; responses stored before an older purge are purged."""

PREFIXES: Final = 1_000
"""Number of purged prefixes that are kept; responses stored before an older purge are purged."""

RECENT: Final = 20_000
"""Number of recently purged names. A response is not stored if its node did not know an older
purge; a node knows all purges but those of the last second.
"""

BITS: Final = 8 * 1024 * 1024
"""Size of the bitmap in bits: 1 MiB."""

LOGGED: Final = 1_000
"""Number of purges that a process may be behind; beyond it, the process purges its whole memory."""

KEPT: Final = 7 * 24 * 3600
"""Seconds for which purges are kept after the last query. Those of a Redis process that has ended
are not queried, because its keys contain its name.
"""

_STATE: Final = """
local function members()
  local count = redis.call('EXISTS', KEYS[6])
  for i = 2, 5 do count = count + redis.call('ZCARD', KEYS[i]) end
  return count
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'floor', 'trimmed', 'count')
local whole = state[1] and tonumber(state[5]) == members()
local epoch, seq, floor = state[1], tonumber(state[2]), tonumber(state[3])
"""

_BEGIN: Final = f"""
local function clear_bits()
  redis.call('DEL', KEYS[6])
  redis.call('SETBIT', KEYS[6], {BITS - 1}, 0)
end
local function begin(word)
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call('HSET', KEYS[1], 'epoch', word, 'seq', 0, 'floor', 0, 'trimmed', 0, 'late', 0,
             'count', 1)
  clear_bits()
end
"""

_BIT: Final = f"""
local function bit(name)
  local a, b, c, d = string.byte(name, 1, 4)
  return (((a * 256 + b) * 256 + c) * 256 + d) % {BITS}
end
"""

_KEEP: Final = f"""
local function keep()
  for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], {KEPT * 1000}) end
end
"""

SYNC = RedisScript(
    "-- cache_sync"
    + _STATE
    + _BEGIN
    + _KEEP
    + f"""
if not whole then
  begin(ARGV[3])
  keep()
  return {{ARGV[3], 0, 1}}
end
if redis.call('PTTL', KEYS[1]) < {KEPT * 500} then keep() end
if epoch ~= ARGV[1] or tonumber(ARGV[2]) < tonumber(state[4]) then return {{epoch, seq, 1}} end
local found = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[2], '+inf')
return {{epoch, seq, 0, unpack(found)}}
"""
)
"""ARGV: epoch and number of the last purge that the node knows, and a random word.

Returns epoch and number, 1 if the node may have missed unknown purges, and the purges since.
"""

PURGE = RedisScript(
    "-- cache_purge"
    + _STATE
    + _BEGIN
    + _BIT
    + _KEEP
    + f"""
if not whole then begin(ARGV[1]) end
seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('ZADD', KEYS[4], seq, ARGV[2])
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'floor', seq)
  clear_bits()
else
  for i = 5, #ARGV do
    redis.call('ZADD', KEYS[5], seq, ARGV[i])
    if redis.call('GETBIT', KEYS[6], bit(string.sub(ARGV[i], 2))) == 1 then
      redis.call('ZADD', KEYS[2], seq, ARGV[i])
    end
  end
  if ARGV[4] ~= '' then redis.call('ZADD', KEYS[3], seq, ARGV[4]) end
end
local function trim(key, most, field)
  local over = redis.call('ZCARD', key) - most
  if over > 0 then
    local last = redis.call('ZRANGE', key, over - 1, over - 1, 'WITHSCORES')[2]
    if tonumber(last) > tonumber(redis.call('HGET', KEYS[1], field)) then
      redis.call('HSET', KEYS[1], field, last)
    end
    redis.call('ZREMRANGEBYRANK', key, 0, over - 1)
  end
end
trim(KEYS[2], {NAMES}, 'floor')
trim(KEYS[3], {PREFIXES}, 'floor')
trim(KEYS[4], {LOGGED}, 'trimmed')
trim(KEYS[5], {RECENT}, 'late')
redis.call('HSET', KEYS[1], 'count', members())
keep()
return seq
"""
)
"""ARGV: a random word, the purge, 1 if it is a hard purge of everything, its prefix or nothing, and
its names. Returns its number.
"""

GET = RedisScript(
    "-- cache_get"
    + _STATE
    + """
local out = {}
if not whole then return out end
local function purged(names, url, known)
  local soft = 0
  for at = 1, #names, 16 do
    local name = string.sub(names, at, at + 15)
    local hard = redis.call('ZSCORE', KEYS[2], '0' .. name)
    if hard and tonumber(hard) > known then return nil end
    local score = redis.call('ZSCORE', KEYS[2], '1' .. name)
    if score and tonumber(score) > known then soft = 1 end
  end
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. known, '+inf')) do
    local prefix = string.sub(one, 2)
    if string.sub(url, 1, #prefix) == prefix then
      if string.sub(one, 1, 1) == '0' then return nil end
      soft = 1
    end
  end
  return soft
end
local all = redis.call('HGETALL', KEYS[7])
for i = 1, #all, 2 do
  local value = all[i + 1]
  local word, known, _, names, url, at = string.match(value, '^(%S+) (%d+) (%S+) (%d+) (%d+)\\n()')
  local soft = nil
  if word == epoch and tonumber(known) >= floor then
    local behind = at + 16 * names
    soft = purged(string.sub(value, at, behind - 1), string.sub(value, behind, behind + url - 1),
                  tonumber(known))
    value = string.sub(value, behind + url)
  end
  if soft then
    out[#out + 1] = all[i]
    out[#out + 1] = soft
    out[#out + 1] = value
  else
    redis.call('HDEL', KEYS[7], all[i])
  end
end
return out
"""
)
"""Additional KEYS: the responses of a key. Returns the selection, 1 after a soft purge, and the
record of each response that is not purged.
"""

PUT = RedisScript(
    "-- cache_put"
    + _STATE
    + _BIT
    + """
if not whole or epoch ~= ARGV[1] then return 0 end
local known, count, at = string.match(ARGV[3], '^%S+ (%d+) %S+ (%d+) %d+\\n()')
known = tonumber(known)
local names = {}
for i = at, at + 16 * (tonumber(count) - 1), 16 do
  names[#names + 1] = string.sub(ARGV[3], i, i + 15)
end
if known < seq then
  if known < tonumber(redis.call('HGET', KEYS[1], 'late')) then return 0 end
  for _, name in ipairs(names) do
    for _, mark in ipairs({'0', '1'}) do
      local score = redis.call('ZSCORE', KEYS[5], mark .. name)
      if score and tonumber(score) > known then return 0 end
    end
  end
end
local old = redis.call('HGET', KEYS[7], ARGV[2])
if old then
  local word, _, asked = string.match(old, '^(%S+) (%d+) (%S+)')
  asked = tonumber(asked) or 0
  if word == epoch and asked > tonumber(ARGV[4]) and asked <= tonumber(ARGV[5]) then return 0 end
else
  local same = {}
  for _, one in ipairs(redis.call('HKEYS', KEYS[7])) do
    if #one == #ARGV[2] then same[#same + 1] = one end
  end
  if #same >= tonumber(ARGV[7]) then redis.call('HDEL', KEYS[7], same[1]) end
end
for _, name in ipairs(names) do redis.call('SETBIT', KEYS[6], bit(name), 1) end
redis.call('HSET', KEYS[7], ARGV[2], ARGV[3])
if redis.call('PTTL', KEYS[7]) < tonumber(ARGV[6]) then
  redis.call('PEXPIRE', KEYS[7], ARGV[6])
end
return 1
"""
)
"""Additional KEYS: the responses of a key. ARGV: epoch, selection, value, time of the request, the
latest time that is not in the future, milliseconds to keep it, and the maximum number of responses
of a key whose selection has this length. Whole responses and parts differ in it.

Returns 1 if it is stored, 0 if a later response is stored, the response was purged, or the epoch
has ended.
"""

DROP = RedisScript(
    "-- cache_drop"
    + """
local old = redis.call('HGET', KEYS[7], ARGV[1])
if not old then return 0 end
local asked = tonumber(string.match(old, '^%S+ %d+ (%S+)') or '')
if asked and asked > tonumber(ARGV[2]) and asked <= tonumber(ARGV[3]) then return 0 end
return redis.call('HDEL', KEYS[7], ARGV[1])
"""
)
"""Additional KEYS: the responses of a key. ARGV: selection, the time of the request whose response
is outdated, and the latest time that is not in the future.

Returns 1 if a response is removed, 0 if there is none or it is from a later request.
"""
