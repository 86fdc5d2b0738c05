package redisq

import (
	"context"
	"fmt"
)

// Purge forgets the queue: jobs, workers, and which database it belongs to. It reads the names of
// all keys of the server.
func (d *Driver) Purge(ctx context.Context) error {
	if _, err := d.again(ctx, d.scripts.purge, nil); err != nil {
		return fmt.Errorf("purge the queue: %w", err)
	}
	return nil
}
