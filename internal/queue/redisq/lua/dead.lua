-- Lists the dead jobs. It changes nothing.
-- Keys: workers, dead, why. Arguments: none.
-- Result: for each its id and its reason.

local answer = {}
for _, id in ipairs(call('ZRANGE', P .. 'dead', 0, -1)) do
  answer[#answer + 1] = id
  answer[#answer + 1] = call('HGET', P .. 'why', id) or ''
end
return answer
