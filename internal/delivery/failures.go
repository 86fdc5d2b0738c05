package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"otpost/internal/store"
)

// Failure counts the messages that ended in one way that is no success.
type Failure struct {
	State  State     `json:"state"` // failed, expired or unknown
	Reason Reason    `json:"reason"`
	Count  int       `json:"count"`
	Last   time.Time `json:"last"` // when the last of them ended
}

// Failures counts the messages that ended without success since a time, the most frequent first; nil when
// there was none. What was dropped because its code was no longer wanted is no failure, nor is a test mail
// with unsaved values: it has no route.
func (s *Service) Failures(ctx context.Context, since time.Time) ([]Failure, error) {
	var all []Failure
	err := s.DB.Read(ctx, func(r store.Reader) error {
		all = nil
		return store.List(r, func(scan store.Scan) error {
			var f Failure
			err := scan(&f.State, &f.Reason, &f.Count, store.NullTime{To: &f.Last})
			if err != nil && !errors.Is(err, store.ErrDamaged) {
				return err
			}
			all = append(all, f)
			return nil
		}, `SELECT state, reason, count(*), max(updated_ms) FROM delivery
			WHERE updated_ms >= $1 AND state IN ('failed', 'expired', 'unknown') AND `+outcomes+` AND route <> ''
			GROUP BY state, reason ORDER BY count(*) DESC, state, reason`, store.Millis(since))
	})
	if err != nil {
		return nil, fmt.Errorf("count failed deliveries: %w", err)
	}
	return all, nil
}
