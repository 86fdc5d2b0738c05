package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// Unfinished is a message without a final state, as the database has it: what an operator can see without the queue.
type Unfinished struct {
	ID       uuid.UUID `json:"id"`
	State    State     `json:"state"` // queued, deferred or sending
	Via      Via       `json:"via"`
	Server   string    `json:"server"`
	Created  time.Time `json:"created"`
	NextTry  time.Time `json:"next_try"`
	NotAfter time.Time `json:"not_after"`
	Attempts int       `json:"attempts"`
}

// Unfinished lists the messages without a final state, the oldest first; at most so many, 0 for all. Nil:
// there is none. An order by id alone would read all deliveries by their primary key, and not the few of the
// partial index.
func (s *Service) Unfinished(ctx context.Context, most int) ([]Unfinished, error) {
	if most == 0 {
		most = -1 // no limit
	}
	var all []Unfinished
	err := s.DB.Read(ctx, func(r store.Reader) error {
		all = nil
		return store.List(r, func(scan store.Scan) error {
			var u Unfinished
			err := scan(&u.ID, &u.State, &u.Via, &u.Server, store.NullTime{To: &u.Created},
				store.NullTime{To: &u.NextTry}, store.NullTime{To: &u.NotAfter}, &u.Attempts)
			if err != nil && !errors.Is(err, store.ErrDamaged) {
				return err
			}
			all = append(all, u)
			return nil
		}, `SELECT id, state, via, route, created_ms, next_try_ms, not_after_ms, attempts FROM delivery
			WHERE state IN ('queued', 'deferred', 'sending') ORDER BY created_ms, id LIMIT $1`, most)
	})
	if err != nil {
		return nil, fmt.Errorf("list unfinished deliveries: %w", err)
	}
	return all, nil
}

// Backlog is how many messages stand in one state that is not final.
type Backlog struct {
	State    State     `json:"state"` // queued, deferred or sending
	Mails    int       `json:"mails"`
	Attempts int       `json:"attempts"` // that were made for them, together
	Oldest   time.Time `json:"oldest"`   // when the first of them was made
}

// Backlog counts the messages without a final state, by state; nil: there is none.
func (s *Service) Backlog(ctx context.Context) ([]Backlog, error) {
	var all []Backlog
	err := s.DB.Read(ctx, func(r store.Reader) error {
		all = nil
		return r.Query(func(scan store.Scan) error {
			var b Backlog
			err := scan(&b.State, &b.Mails, &b.Attempts, store.NullTime{To: &b.Oldest})
			all = append(all, b)
			return err
		}, `SELECT state, count(*), sum(attempts), min(created_ms) FROM delivery
			WHERE state IN ('queued', 'deferred', 'sending') GROUP BY state ORDER BY state DESC`)
	})
	if err != nil {
		return nil, fmt.Errorf("count unfinished deliveries: %w", err)
	}
	return all, nil
}

// Waiting counts the messages that wait for a worker and returns when the oldest of them was made. The query
// repeats the condition of a partial index: probes ask each few seconds.
func (s *Service) Waiting(ctx context.Context) (n int, oldest time.Time, err error) {
	err = s.DB.Read(ctx, func(r store.Reader) error {
		return r.Get([]any{&n, store.NullTime{To: &oldest}}, `SELECT count(*), min(created_ms) FROM delivery
			WHERE state IN ('queued', 'deferred', 'sending') AND state <> 'sending' AND via = 'queue'`)
	})
	if err != nil {
		err = fmt.Errorf("count waiting deliveries: %w", err)
	}
	return n, oldest, err
}
