package redisq

import (
	"context"
	"fmt"
)

// Removes all keys of the queue. ARGV: clock. The answer is empty.
const purgeScript = `
for _, key in ipairs(call('KEYS', P .. '*')) do call('UNLINK', key) end
return {}
`

// Purge forgets the queue: jobs, workers, and which database it belongs to. It reads the names of all keys of the server.
func (d *Driver) Purge(ctx context.Context) error {
	if _, err := d.again(ctx, d.scripts.purge); err != nil {
		return fmt.Errorf("purge the queue: %w", err)
	}
	return nil
}
