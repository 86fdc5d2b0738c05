-- What every other script begins with (script.go composes them).
--
-- KEYS[1]: the key "workers"; all other keys have its prefix P.
-- ARGV[1]: one packed map (MessagePack), here arg. Its field now is the time in milliseconds that tests go by;
-- without it the script goes by Redis' clock. The clocks of Redis and of the caller are never compared: the caller
-- gives times in milliseconds from now, and gets times together with the script's own now.

local call, find, sub, match = redis.call, string.find, string.sub, string.match
local arg = cmsgpack.unpack(ARGV[1])
local P = sub(KEYS[1], 1, -8)
local t = call('TIME')
local real = t[1] * 1000 + math.floor(t[2] / 1000)
local now, us = real, t[1] * 1000000 + t[2]
if arg.now then now = arg.now; us = now * 1000 end

local function int(n) return string.format('%.0f', n) end

-- from returns the time of a number of milliseconds from now; 0: there is none.
local function from(ms) return ms and math.max(now + ms, 1) or 0 end

local function bucket(id) return P .. 'job:' .. (tonumber(sub(id, -2), 16) or 0) % 64 end

local x4 = '%x%x%x%x'
local uuid = '^' .. x4 .. x4 .. '%-' .. x4 .. '%-' .. x4 .. '%-' .. x4 .. '%-' .. x4 .. x4 .. x4 .. '$'

-- load returns the fields of a record, or nil. The second result is true when there is a record that cannot be
-- read, or when the id is no lower-case UUID.
local function load(id)
  local raw = call('HGET', bucket(id), id)
  if not raw then return nil, false end
  local _, e, state, prio, run_at, not_after, created, token, crashes, worker, swept, kind =
    find(raw, '^1 ([rsld]) ([01]) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)\n')
  if not e or #run_at > 15 or #not_after > 15 or #created > 15 or #token > 16 or #crashes > 6
    or not find(id, uuid) or string.lower(id) ~= id then
    return nil, true
  end
  return {
    state = state, prio = prio, run_at = run_at, not_after = not_after, created = created, token = token,
    crashes = crashes, worker = worker, swept = swept, kind = kind, payload = sub(raw, e + 1),
  }, false
end

-- save writes a record and returns its text.
local function save(id, r)
  local raw = '1 ' .. r.state .. ' ' .. r.prio .. ' ' .. r.run_at .. ' ' .. r.not_after .. ' ' .. r.created .. ' ' ..
    r.token .. ' ' .. r.crashes .. ' ' .. r.worker .. ' ' .. r.swept .. ' ' .. r.kind .. '\n' .. r.payload
  call('HSET', bucket(id), id, raw)
  return raw
end

-- wake sets the mark of a line's kind, once in a call.
local marked = {}
local function wake(line)
  local kind = match(line, '^[^/]*')
  if not marked[kind] then call('ZADD', P .. 'mark:' .. kind, 0, 'due'); marked[kind] = true end
end

-- know adds a line to the lines, once in a call.
local known = {}
local function know(line)
  if not known[line] and call('SADD', P .. 'kinds', line) == 1 then wake(line) end
  known[line] = true
end

-- lines returns the lines of the kinds except those of the lanes in the set full.
local function lines(kinds, full)
  local all, asked = {}, {}
  for _, kind in ipairs(kinds) do
    asked[kind] = true
    if not full[''] then all[#all + 1] = kind end
  end
  for _, line in ipairs(call('SMEMBERS', P .. 'kinds')) do
    local kind, lane = match(line, '^([^/]*)/(.*)$')
    if kind and asked[kind] and not full[lane] then all[#all + 1] = line end
  end
  return all
end

-- set returns the values of a list as the keys of a table.
local function set(list)
  local all = {}
  for _, value in ipairs(list) do all[value] = true end
  return all
end

-- waiting reports whether a job of a line is ready.
local function waiting(line)
  local k = P .. 'ready:' .. line .. ':'
  return call('EXISTS', k .. 0, k .. 1) > 0
end

-- ready makes a job ready.
local function ready(id, r)
  r.state = 'r'; r.worker = '-'
  save(id, r)
  know(r.kind)
  call('ZADD', P .. 'ready:' .. r.kind .. ':' .. r.prio, r.run_at, id)
  wake(r.kind)
end

-- schedule makes a job ready or scheduled by its times; 0: none. A job is due at its end at the latest.
local function schedule(id, r, run_at, not_after)
  if run_at == 0 then run_at = now end
  if not_after > 0 and run_at > not_after then run_at = not_after end
  r.run_at = int(run_at); r.not_after = int(not_after)
  if run_at <= now then return ready(id, r) end
  r.state = 's'; r.worker = '-'
  save(id, r)
  know(r.kind)
  local key = P .. 'sched:' .. r.kind
  call('ZADD', key, r.run_at, id)
  if call('ZRANGE', key, 0, 0)[1] == id then wake(r.kind) end
end

-- alive reports whether a worker's lease stands.
local function alive(worker)
  local ends = call('ZSCORE', KEYS[1], worker)
  return ends and tonumber(ends) > now
end

-- giveBack makes a job ready that a worker holds, and returns 1; else 0.
local function giveBack(id, worker, crashed)
  local r = load(id)
  if not r or r.state ~= 'l' or r.worker ~= worker then return 0 end
  if crashed then r.crashes = int(r.crashes + 1); r.swept = worker end
  ready(id, r)
  return 1
end

-- bind makes the queue that of "INSTANCE HOST", and returns which other one has it, or nil. An empty owner asks
-- nothing.
local function bind(owner)
  if owner == '' then return nil end
  local is = call('GET', P .. 'bound')
  if is and match(is, '^%S*') ~= match(owner, '^%S*') then return is end
  if is ~= owner then call('SET', P .. 'bound', owner) end
  return nil
end

