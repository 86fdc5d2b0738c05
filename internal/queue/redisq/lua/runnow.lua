-- Makes a scheduled job due.
-- Keys: workers, job:N, sched:LINE, ready:LINE:PRIO, kinds, mark:KIND. Arguments: id.
-- Result: {}.

local id = arg.id
local r = load(id)
if r and r.state == 's' then
  call('ZREM', P .. 'sched:' .. r.kind, id)
  if tonumber(r.run_at) > now then r.run_at = int(now) end
  ready(id, r)
end
return {}
