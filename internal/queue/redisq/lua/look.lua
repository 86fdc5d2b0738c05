-- Looks when the next job is due. It changes nothing.
-- Keys: workers, kinds, ready:LINE:PRIO, sched:LINE. Arguments: kinds; full = lanes to pass over.
-- Result: {ms} until a job of the kinds in another lane is due: 0 when one is, -1 when there is none.

local least = -1
for _, line in ipairs(lines(arg.kinds, set(arg.full))) do
  if waiting(line) then return {0} end
  local first = call('ZRANGE', P .. 'sched:' .. line, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(tonumber(first[2]) - now, 0)
    if least < 0 or left < least then least = left end
  end
end
return {least}
