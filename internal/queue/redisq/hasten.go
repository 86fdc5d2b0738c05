package redisq

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// Makes a scheduled job due. ARGV: clock, id. The answer is empty.
const hastenScript = `
local id = ARGV[2]
local r = load(id)
if r and r.state == 's' then
  call('ZREM', P .. 'sched:' .. r.kind, id)
  if tonumber(r.run_at) > now then r.run_at = int(now) end
  ready(id, r)
end
return {}
`

// Hasten implements queue.Driver.
func (d *Driver) Hasten(ctx context.Context, id uuid.UUID) error {
	if _, err := d.again(ctx, d.scripts.hasten, id.String()); err != nil {
		return fmt.Errorf("hasten %s: %w", id, err)
	}
	return nil
}
