-- Registers a worker.
-- Keys: workers, info, bound. Arguments: owner = "INSTANCE HOST" or ''; worker; text = its JSON; lease_ms.
-- Result: {}, or {"INSTANCE HOST"} that has the queue, and then nothing has changed.

local other = bind(arg.owner)
if other then return {other} end
call('HSET', P .. 'info', arg.worker, int(now) .. ' ' .. arg.text)
call('ZADD', KEYS[1], int(now + arg.lease_ms), arg.worker)
return {}
