-- Lists the workers. It changes nothing.
-- Keys: workers, info. Arguments: lease_ms.
-- Result: now, then for each worker its id, the end of its lease, its info.

local answer = {now}
for i, v in ipairs(call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do
  if i % 2 == 1 then
    answer[#answer + 1] = v
  else
    answer[#answer + 1] = int(math.min(tonumber(v), now + arg.lease_ms))
    answer[#answer + 1] = call('HGET', P .. 'info', answer[#answer - 1]) or ''
  end
end
return answer
