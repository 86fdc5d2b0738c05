-- Renews a lease.
-- Keys: workers, info. Arguments: worker; text = its JSON or '', which is set where it is missing; lease_ms.
-- Result: {1} or {0} = the lease stood.

if not alive(arg.worker) then return {0} end
if arg.text ~= '' then call('HSETNX', P .. 'info', arg.worker, int(now) .. ' ' .. arg.text) end
call('ZADD', KEYS[1], int(now + arg.lease_ms), arg.worker)
return {1}
