-- Looks for workers to sweep. When no sweep has run for a time (gap_ms), lapsed leases are left alone for the
-- length of a lease: no worker could renew its own. That time is measured by Redis' own clock, in tests too. A
-- lease that ends later than any can was given before Redis' clock was set back: it ends a lease from now.
-- Keys: workers, swept, info. Arguments: lease_ms, gap_ms.
-- Result: 1 or 0 = lapsed leases are left alone, then for each worker its id, 1 or 0 = its lease has lapsed, its
-- info.

local last, quiet = match(call('GET', P .. 'swept') or '', '^(%d+) (%d+)$')
last = tonumber(last) or real
quiet = math.min(tonumber(quiet) or 0, real + arg.lease_ms)
if real - last > arg.gap_ms then quiet = real + arg.lease_ms end
call('SET', P .. 'swept', int(real) .. ' ' .. int(quiet))
local answer = {quiet > real and 1 or 0}
for i, v in ipairs(call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do
  if i % 2 == 1 then
    answer[#answer + 1] = v
  else
    if tonumber(v) > now + arg.lease_ms then call('ZADD', KEYS[1], int(now + arg.lease_ms), answer[#answer]) end
    answer[#answer + 1] = tonumber(v) <= now and 1 or 0
    answer[#answer + 1] = call('HGET', P .. 'info', answer[#answer - 1]) or ''
  end
end
return answer
