-- Lists the records of one bucket that can be read. It changes nothing.
-- Keys: workers, job:N. Arguments: bucket = N.
-- Result: now and '', then for each record its id and its first line.

local answer = {int(now), ''}
for _, id in ipairs(call('HKEYS', P .. 'job:' .. arg.bucket)) do
  local r = load(id)
  if r then
    answer[#answer + 1] = id
    answer[#answer + 1] = table.concat({
      1, r.state, r.prio, r.run_at, r.not_after, r.created, r.token, r.crashes, r.worker, r.swept, r.kind,
    }, ' ')
  end
end
return answer
