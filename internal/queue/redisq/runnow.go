package redisq

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// Makes a scheduled job due. ARGV: clock, id. The answer is empty.
const runNowScript = `
local id = ARGV[2]
local r = load(id)
if r and r.state == 's' then
  call('ZREM', P .. 'sched:' .. r.kind, id)
  if tonumber(r.run_at) > now then r.run_at = int(now) end
  ready(id, r)
end
return {}
`

// RunNow implements queue.Driver.
func (d *Driver) RunNow(ctx context.Context, id uuid.UUID) error {
	if _, err := d.again(ctx, d.scripts.runNow, id.String()); err != nil {
		return fmt.Errorf("make job %s due: %w", id, err)
	}
	return nil
}
