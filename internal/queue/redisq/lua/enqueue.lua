-- Adds the jobs whose ids the queue does not know. A full Redis refuses its first write, and so all of the jobs.
-- Keys: workers, bound, kinds, job:N, ready:LINE:PRIO, sched:LINE, mark:KIND, dead, why, held:WORKER.
-- Arguments: owner = "INSTANCE HOST" or ''; most_lines; jobs = list of
--   {id, line, prio, run_at = ms from now or nil, not_after = ms from now or nil, payload}.
-- Result: {}, or {"INSTANCE HOST"} that has the queue, and then nothing was added: after a Redis was emptied,
-- another database may have been first.

-- waits reports whether a job is in the structure that its record names: one that was edited out of it comes back.
-- The second result is false when there is no record.
local function waits(id)
  local r, corrupt = load(id)
  if not r then return false, corrupt end
  know(r.kind)
  if r.state == 'l' then
    if call('ZSCORE', KEYS[1], r.worker) then return call('HEXISTS', P .. 'held:' .. r.worker, id) == 1, true end
    call('HDEL', P .. 'held:' .. r.worker, id)
    return false, true
  end
  if r.state == 's' then return call('ZSCORE', P .. 'sched:' .. r.kind, id), true end
  return r.state == 'r' and call('ZSCORE', P .. 'ready:' .. r.kind .. ':' .. r.prio, id), true
end

local other = bind(arg.owner)
if other then return {other} end
for _, job in ipairs(arg.jobs) do
  local id, line = job.id, job.line
  local kind = match(line, '^[^/]*')
  know(kind)
  local there, before = waits(id)
  if not there then
    if line ~= kind and call('SISMEMBER', P .. 'kinds', line) == 0
      and call('SCARD', P .. 'kinds') >= arg.most_lines then
      line = kind
    end
    local record = {
      prio = job.prio, created = int(now), token = '0', crashes = '0', swept = '-', kind = line, payload = job.payload,
    }
    schedule(id, record, from(job.run_at), from(job.not_after))
    if before and call('ZREM', P .. 'dead', id) == 1 then call('HDEL', P .. 'why', id) end
  end
end
return {}
