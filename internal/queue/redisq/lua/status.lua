-- Counts jobs by the structures in which they lie, and reads none. It changes nothing.
-- Keys: workers, kinds, sched:LINE, ready:LINE:PRIO, dead, held:WORKER. Arguments: none.
-- Result: leased, dead, scheduled and when the first of them is due, then for each priority how many are ready and
-- since when the first of them is (0: there is none), then now. A time that no record can have is shown as the
-- earliest or latest.

local answer = {0, call('ZCARD', P .. 'dead')}
for i = 3, 8 do answer[i] = 0 end
local function add(at, key)
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if not first then return end
  local behind = call('ZRANGEBYSCORE', key, '(1e14', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if behind then first = math.min(tonumber(first), tonumber(behind) - 1e14) end
  local due = math.min(math.max(tonumber(first) or 0, 1), 1e15 - 1)
  answer[at] = answer[at] + call('ZCARD', key)
  if answer[at + 1] == 0 or due < answer[at + 1] then answer[at + 1] = due end
end
for _, line in ipairs(call('SMEMBERS', P .. 'kinds')) do
  add(3, P .. 'sched:' .. line)
  for prio = 0, 1 do add(5 + 2 * prio, P .. 'ready:' .. line .. ':' .. prio) end
end
for _, worker in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do
  answer[1] = answer[1] + call('HLEN', P .. 'held:' .. worker)
end
answer[9] = now
return answer
