-- Sets a kind's mark again while jobs of the kind are ready.
-- Keys: workers, kinds, ready:LINE:PRIO, mark:KIND. Arguments: kind.
-- Result: {}.

for _, line in ipairs(lines({arg.kind}, {})) do
  if waiting(line) then wake(line); break end
end
return {}
