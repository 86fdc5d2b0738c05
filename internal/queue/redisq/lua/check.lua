-- Checks that scripts may write after they have read the time, and looks at the types of the keys that are there.
-- It runs without the library, for the library's first write may be what fails.
-- Keys: workers, and all keys of the queue. Arguments: kinds = names of kinds.
-- Result: the key and the type of each that is not what it should be, by turns.

redis.call('ZREM', KEYS[1], '')
redis.call('TIME')
local arg = cmsgpack.unpack(ARGV[1])
local P, bad = string.sub(KEYS[1], 1, -8), {}
local function want(key, kind)
  local is = redis.call('TYPE', P .. key).ok
  if is ~= kind and is ~= 'none' then bad[#bad + 1] = P .. key; bad[#bad + 1] = is end
end
want('kinds', 'set')
want('info', 'hash')
want('dead', 'zset')
want('why', 'hash')
want('seq', 'string')
want('swept', 'string')
want('bound', 'string')
for i = 0, 63 do want('job:' .. i, 'hash') end
local lines = {}
if redis.call('TYPE', P .. 'kinds').ok == 'set' then lines = redis.call('SMEMBERS', P .. 'kinds') end
for _, kind in ipairs(arg.kinds) do want('mark:' .. kind, 'zset'); lines[#lines + 1] = kind end
for _, line in ipairs(lines) do
  want('sched:' .. line, 'zset')
  for prio = 0, 1 do want('ready:' .. line .. ':' .. prio, 'zset') end
end
redis.call('ZREM', KEYS[1], '')
return bad
