-- Takes a dead worker's jobs back, counted as crashes.
-- Keys: workers, info, held:WORKER, job:N, ready:LINE:PRIO, kinds, mark:KIND.
-- Arguments: worker; dead = true: whatever its lease says.
-- Result: {n} jobs.

local worker, n = arg.worker, 0
local ends = call('ZSCORE', KEYS[1], worker)
if not ends or (not arg.dead and tonumber(ends) > now) then return {0} end
call('ZREM', KEYS[1], worker)
call('HDEL', P .. 'info', worker)
for _, id in ipairs(call('HKEYS', P .. 'held:' .. worker)) do n = n + giveBack(id, worker, true) end
call('UNLINK', P .. 'held:' .. worker)
return {n}
