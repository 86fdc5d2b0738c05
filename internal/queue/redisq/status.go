package redisq

import (
	"context"
	"fmt"

	"otpost/internal/queue"
)

// Counts by the lists, which need not be read for that. ARGV: clock. It changes nothing. The answer: leased, dead, scheduled and when
// the first of them is due, then for each priority how many are ready and since when the first of them is; 0: there
// is none; then now. A time that no record can have is as early or late as one can.
const statusScript = `
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
for _, kind in ipairs(call('SMEMBERS', P .. 'kinds')) do
  add(3, P .. 'sched:' .. kind)
  for prio = 0, 1 do add(5 + 2 * prio, P .. 'ready:' .. kind .. ':' .. prio) end
end
for _, worker in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do answer[1] = answer[1] + call('HLEN', P .. 'held:' .. worker) end
answer[9] = now
return answer
`

// Status implements queue.Operator. What it costs depends on the number of kinds and workers, not of jobs. An id without a record, or
// with one that nobody can read, counts where it lies until somebody meets it there.
func (d *Driver) Status(ctx context.Context) (queue.Status, error) {
	var s queue.Status
	answer, err := d.again(ctx, d.scripts.status)
	if err != nil {
		return s, fmt.Errorf("count jobs: %w", err)
	}
	var n [8]int64
	for i := range n {
		if n[i], err = answer[i].AsInt64(); err != nil {
			return s, fmt.Errorf("count jobs: %w", err)
		}
	}
	clock, err := d.shift(answer[len(n)])
	if err != nil {
		return s, fmt.Errorf("count jobs: %w", err)
	}
	s.Leased, s.Dead, s.Scheduled, s.NextDue = int(n[0]), int(n[1]), int(n[2]), clock.time(n[3])
	for p := range s.Ready {
		s.Ready[p] = queue.Depth{Jobs: int(n[4+2*p]), Oldest: clock.time(n[5+2*p])}
	}
	return s, nil
}
