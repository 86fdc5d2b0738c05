package redisq

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// RunNow implements queue.Driver.
func (d *Driver) RunNow(ctx context.Context, id uuid.UUID) error {
	if _, err := d.again(ctx, d.scripts.runNow, fields{"id", id.String()}); err != nil {
		return fmt.Errorf("make job %s due: %w", id, err)
	}
	return nil
}
