package redisq

// Claims. ARGV: clock, worker, most, 1 = lowest priority first, number of kinds, kinds ..., number of full lanes,
// lanes ..., number of results, then for each: id, token, action, run_at, not_after, reason. It reports, promotes
// what is due (500 of a line at most), and leases. Of ids without a ready record at most 2,000 are passed over in
// one call. The answer: 1 or 0 = the lease stands, ids that went to the dead letters because their record cannot be
// read, for each claim id, record, and now.
//
// A cursor walks along one line of one priority, and the oldest job that a cursor is at comes next. Jobs are
// due at their end at the latest, so that one which became due within STALE_AFTER cannot be stale. A cursor
// passes over MOST_PASSED older ones that are; then it moves them behind all others and goes to those. What is
// stale is leased when nothing else is left.
//
// The mark is left where other processes may find work: jobs that are ready, in full lanes too, or due within the
// second after which they look by themselves.
const claimScript = `
local worker, most, lowest, at = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', 5
local held = P .. 'held:' .. worker
local function some()
  local all, n = {}, tonumber(ARGV[at])
  for i = 1, n do all[i] = ARGV[at + i] end
  at = at + n + 1
  return all
end
local kinds, full = some(), {}
for _, lane in ipairs(some()) do full[lane] = true end
local living = alive(worker)
local results, over = tonumber(ARGV[at]), {}
at = at + 1
for first = 0, results - 1, 1000 do
  local ids = {}
  for i = first, math.min(first + 1000, results) - 1 do ids[#ids + 1] = ARGV[at + 6 * i] end
  for i, token in ipairs(call('HMGET', held, unpack(ids))) do
    local id, a = ids[i], at + 6 * (first + i - 1)
    if token == ARGV[a + 1] and not over[id] then
      local action, r = ARGV[a + 2], nil
      over[id] = true
      over[#over + 1] = id
      if action == '0' then call('HDEL', bucket(id), id) else r = load(id) end
      if r and r.state == 'l' and r.worker == worker then
        if action == '1' then
          local not_after = from(ARGV[a + 4])
          if not_after == 0 then not_after = tonumber(r.not_after) end
          schedule(id, r, from(ARGV[a + 3]), not_after)
        elseif action == '2' then ready(id, r)
        else bury(id, r, ARGV[a + 5]) end
      end
    end
  end
end
for i = 1, #over, 1000 do call('HDEL', held, unpack(over, i, math.min(i + 999, #over))) end
if not living then return {0} end
local bad, got, leased = {}, {}, {}
if most == 0 then return {1, bad, got, now} end
local function aside(id) bury(id, nil, 'the record cannot be read'); bad[#bad + 1] = id end
local open = lines(kinds, full)
for _, line in ipairs(open) do
  local key = P .. 'sched:' .. line
  for _, id in ipairs(call('ZRANGEBYSCORE', key, '-inf', int(now), 'LIMIT', 0, 500)) do
    local r, corrupt = load(id)
    call('ZREM', key, id)
    if corrupt then aside(id) elseif r and r.state == 's' and r.kind == line then ready(id, r) end
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
local since, moved = now - STALE_AFTER, 1e14
local ghosts, passed = 0, 0
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
      if corrupt then aside(id) end
      c.gone[#c.gone + 1] = id
      ghosts = ghosts + 1
      if ghosts >= 2000 then c.id = nil; return end
    elseif not fresh or c.score > since or r.not_after == '0' or tonumber(r.not_after) > since then
      return
    else
      passed = passed + 1
      c.stale[#c.stale + 1] = int(c.score + moved)
      c.stale[#c.stale + 1] = id
      if #c.stale >= 2 * MOST_PASSED or passed > 10 * MOST_PASSED then
        c.rank, c.page, c.at, c.size = call('ZCOUNT', c.key, '-inf', int(since)), {}, 0, 1
        c.behind = #c.stale >= 2 * MOST_PASSED
      end
    end
  end
end
local function leaseAll(prio, fresh)
  local cursors = {}
  for _, line in ipairs(open) do
    local c = {line = line, key = P .. 'ready:' .. line .. ':' .. prio,
               page = {}, at = 0, rank = 0, size = 1, gone = {}, stale = {}}
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
    for i = 1, #c.gone, 1000 do call('ZREM', c.key, unpack(c.gone, i, math.min(i + 999, #c.gone))) end
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
for i = 1, #leased, 1000 do call('HSET', held, unpack(leased, i, math.min(i + 999, #leased))) end
if count > 0 then call('SET', P .. 'seq', int(seq)) end
for _, line in ipairs(lines(kinds, {})) do
  local first = call('ZRANGE', P .. 'sched:' .. line, 0, 0, 'WITHSCORES')
  if waiting(line) or (first[2] and tonumber(first[2]) < now + 1000) then wake(line)
  elseif not first[1] and find(line, '/', 1, true) then call('SREM', P .. 'kinds', line) end
end
return {1, bad, got, now}
`
