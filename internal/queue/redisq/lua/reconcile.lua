-- Gives back what is under a worker's name and not in its list.
-- Keys: workers, held:WORKER, job:N, ready:LINE:PRIO, kinds, mark:KIND. Arguments: worker; held = list of ids.
-- Result: {1} or {0} = the lease stands.

local worker = arg.worker
if not alive(worker) then return {0} end
local has = set(arg.held)
for _, id in ipairs(call('HKEYS', P .. 'held:' .. worker)) do
  if not has[id] then
    call('HDEL', P .. 'held:' .. worker, id)
    giveBack(id, worker, false)
  end
end
return {1}
