-- Ends a worker and gives back what it holds, uncounted.
-- Keys: workers, info, held:WORKER, job:N, ready:LINE:PRIO, kinds, mark:KIND. Arguments: worker.
-- Result: {}.

call('ZREM', KEYS[1], arg.worker)
call('HDEL', P .. 'info', arg.worker)
for _, id in ipairs(call('HKEYS', P .. 'held:' .. arg.worker)) do giveBack(id, arg.worker, false) end
call('UNLINK', P .. 'held:' .. arg.worker)
return {}
