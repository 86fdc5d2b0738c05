package redisq

import (
	"context"
	"fmt"

	"otpost/internal/queue"
)

// Status implements queue.Operator. What it costs depends on the number of kinds and workers, not
// of jobs. An id without a record, or with one that cannot be read, counts where it lies until a
// claim comes to it.
func (d *Driver) Status(ctx context.Context) (queue.Status, error) {
	var s queue.Status
	answer, err := d.again(ctx, d.scripts.status, nil)
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
