-- Reports results, makes due jobs ready (500 of a line at most), and leases jobs.
-- Keys: workers, held:WORKER, kinds, job:N, ready:LINE:PRIO, sched:LINE, mark:KIND, seq, dead, why.
-- Arguments: worker; most = jobs to lease; lowest = true: the lowest priority first, and stale jobs like any other;
--   kinds; full = lanes to pass over; stale_after_ms, most_passed, most_dead; done = list of results
--   {id, token, action = 0 done, 1 retry, 2 release or 3 dead, run_at = ms from now or nil, not_after likewise,
--   reason}.
-- Result: {0} when the lease has lapsed, or {1, ids of dead jobs whose record could not be read, id and record of each
--   leased job by turns, now}.
--
-- A cursor walks along one line of one priority, and the oldest job that a cursor is at comes next. Jobs are due at
-- their end at the latest, so that a job which became due within stale_after_ms cannot be stale. A cursor passes over
-- most_passed older ones that are; then it moves them behind all others and goes to those. Stale jobs are leased when
-- nothing else is left. Of ids without a ready record at most 2,000 are passed over in one call.
--
-- The mark is left where other processes may find work: jobs that are ready, in full lanes too, or due within the
-- second after which they look by themselves.

local worker, most, lowest = arg.worker, arg.most, arg.lowest
local held = P .. 'held:' .. worker

-- inParts calls f with at most 1000 arguments of a list at a time: Lua's stack is bounded.
local function inParts(list, f)
  for i = 1, #list, 1000 do f(unpack(list, i, math.min(i + 999, #list))) end
end

-- bury makes a job dead; r is nil where its record cannot be read.
local function bury(id, r, reason)
  if r then r.state = 'd'; r.worker = '-'; save(id, r) end
  call('ZADD', P .. 'dead', int(now), id)
  call('HSET', P .. 'why', id, reason)
  if call('ZCARD', P .. 'dead') > arg.most_dead then
    local old = call('ZPOPMIN', P .. 'dead')[1]
    call('HDEL', bucket(old), old)
    call('HDEL', P .. 'why', old)
  end
end

-- report does what a result says with a job that the worker holds.
local function report(result)
  local id = result.id
  if result.action == 0 then return call('HDEL', bucket(id), id) end
  local r = load(id)
  if not r or r.state ~= 'l' or r.worker ~= worker then return end
  if result.action == 1 then
    local not_after = from(result.not_after)
    if not_after == 0 then not_after = tonumber(r.not_after) end
    schedule(id, r, from(result.run_at), not_after)
  elseif result.action == 2 then
    ready(id, r)
  else
    bury(id, r, result.reason)
  end
end

local living = alive(worker)
if #arg.done > 0 then
  local ids, tokens, over = {}, {}, {}
  for i, result in ipairs(arg.done) do ids[i] = result.id end
  inParts(ids, function(...)
    for _, token in ipairs(call('HMGET', held, ...)) do tokens[#tokens + 1] = token end
  end)
  for i, result in ipairs(arg.done) do
    if tokens[i] == result.token and not over[result.id] then
      over[result.id] = true
      over[#over + 1] = result.id
      report(result)
    end
  end
  inParts(over, function(...) call('HDEL', held, ...) end)
end
if not living then return {0} end

local bad, got, leased = {}, {}, {}
if most == 0 then return {1, bad, got, now} end
local function putAside(id) bury(id, nil, 'the record cannot be read'); bad[#bad + 1] = id end

local open = lines(arg.kinds, set(arg.full))
for _, line in ipairs(open) do
  local key = P .. 'sched:' .. line
  for _, id in ipairs(call('ZRANGEBYSCORE', key, '-inf', int(now), 'LIMIT', 0, 500)) do
    local r, corrupt = load(id)
    call('ZREM', key, id)
    if corrupt then putAside(id) elseif r and r.state == 's' and r.kind == line then ready(id, r) end
  end
end

local seq = tonumber(call('GET', P .. 'seq') or 0) or 0
if seq < us or seq > 9e15 then seq = us end
local count = 0
local function lease(id, r)
  seq = seq + 1
  count = count + 1
  r.state = 'l'; r.worker = worker; r.token = int(seq)
  leased[#leased + 1] = id
  leased[#leased + 1] = r.token
  got[#got + 1] = id
  got[#got + 1] = save(id, r)
end

local since, moved = now - arg.stale_after_ms, 1e14
local ghosts, passed = 0, 0

-- advance moves a cursor to the next job that can be leased: c.id and c.r; c.id is nil at the end.
local function advance(c, fresh)
  while true do
    c.at = c.at + 2
    if not c.page[c.at] then
      c.page, c.at = call('ZRANGE', c.key, c.rank, c.rank + c.size - 1, 'WITHSCORES'), 1
      c.rank = c.rank + c.size
      c.size = math.min(8 * c.size, 512)
    end
    local id = c.page[c.at]
    c.id, c.score = id, tonumber(c.page[c.at + 1])
    if not id or (fresh and c.score >= moved) then
      if id then passed = passed + 1 end
      c.id = nil
      return
    end
    local r, corrupt = load(id)
    c.r = r
    if corrupt or not r or r.state ~= 'r' or r.kind ~= c.line then
      if corrupt then putAside(id) end
      c.gone[#c.gone + 1] = id
      ghosts = ghosts + 1
      if ghosts >= 2000 then c.id = nil; return end
    elseif not fresh or c.score > since or r.not_after == '0' or tonumber(r.not_after) > since then
      return
    else
      passed = passed + 1
      c.stale[#c.stale + 1] = int(c.score + moved)
      c.stale[#c.stale + 1] = id
      if #c.stale >= 2 * arg.most_passed or passed > 10 * arg.most_passed then
        c.rank, c.page, c.at, c.size = call('ZCOUNT', c.key, '-inf', int(since)), {}, 0, 1
        c.behind = #c.stale >= 2 * arg.most_passed
      end
    end
  end
end

-- leaseAll leases of one priority what is not stale, or (fresh is false) all.
local function leaseAll(prio, fresh)
  local cursors = {}
  for _, line in ipairs(open) do
    local c = {
      line = line, key = P .. 'ready:' .. line .. ':' .. prio, page = {}, at = 0, rank = 0,
      size = math.max(1, math.floor(most / #open)), gone = {}, stale = {},
    }
    advance(c, fresh)
    cursors[#cursors + 1] = c
  end
  while count < most do
    local first
    for _, c in ipairs(cursors) do
      if c.id and (not first or c.score < first.score or (c.score == first.score and c.id < first.id)) then
        first = c
      end
    end
    if not first then break end
    first.gone[#first.gone + 1] = first.id
    lease(first.id, first.r)
    if count < most then advance(first, fresh) end
  end
  for _, c in ipairs(cursors) do
    if c.behind then call('ZADD', c.key, unpack(c.stale)) end
    inParts(c.gone, function(...) call('ZREM', c.key, ...) end)
  end
end

for n = 0, 1 do
  if count == most then break end
  leaseAll(lowest and 1 - n or n, not lowest)
end
if passed > 0 then
  for prio = 0, 1 do
    if count == most then break end
    leaseAll(prio, false)
  end
end
inParts(leased, function(...) call('HSET', held, ...) end)
if count > 0 then call('SET', P .. 'seq', int(seq)) end

for _, line in ipairs(lines(arg.kinds, {})) do
  local first = call('ZRANGE', P .. 'sched:' .. line, 0, 0, 'WITHSCORES')
  if waiting(line) or (first[2] and tonumber(first[2]) < now + 1000) then
    wake(line)
  elseif not first[1] and find(line, '/', 1, true) then
    call('SREM', P .. 'kinds', line)
  end
end
return {1, bad, got, now}
