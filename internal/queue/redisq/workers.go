package redisq

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// gap is the time without a look for dead workers after which Redis must have been away from all of
// them: each looks twice a second.
const gap = 3 * time.Second

// said is what a worker says about itself. What Redis answers for it is shown to administrators and
// decides nothing.
type said struct {
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	Version  string `json:"version"`
	Handlers int    `json:"handlers"`
	Boot     string `json:"boot"`
}

// Register implements queue.Driver. The worker's lock is taken first: an entry without one would
// look dead.
func (d *Driver) Register(ctx context.Context, w queue.Worker) error {
	text, err := json.Marshal(said{w.Host, w.PID, w.Version, w.Handlers, d.locks.Boot()})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := d.locks.Take(w.ID); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := d.register(ctx, w.ID, string(text)); err != nil {
		d.locks.Drop(w.ID)
		return fmt.Errorf("register: %w", err)
	}
	d.said.Store(w.ID, string(text))
	return nil
}

func (d *Driver) register(ctx context.Context, worker uuid.UUID, text string) error {
	entries, _, err := d.entries(ctx)
	if err != nil {
		return err
	}
	// with a lapsed lease, too: the lock file tells the next sweep that the worker is dead
	known := make(map[uuid.UUID]bool)
	for _, e := range entries {
		known[e.id] = true
	}
	if err := d.locks.RemoveLeft(known); err != nil {
		return err
	}
	answer, err := d.again(ctx, d.scripts.register, fields{
		"owner", d.line.owner(), "worker", worker.String(), "text", text, "lease_ms", queue.Lease.Milliseconds(),
	})
	if err != nil {
		return err
	}
	return bound(answer)
}

// Unregister implements queue.Driver.
func (d *Driver) Unregister(ctx context.Context, worker uuid.UUID) error {
	if _, err := d.again(ctx, d.scripts.leave, fields{"worker", worker.String()}); err != nil {
		d.locks.Parted(worker)
		return fmt.Errorf("unregister: %w", err)
	}
	d.parted(worker)
	return nil
}

// parted forgets a worker of this process that has parted or lapsed.
func (d *Driver) parted(worker uuid.UUID) {
	d.said.Delete(worker)
	d.locks.Drop(worker)
}

// Heartbeat implements queue.Driver.
func (d *Driver) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	text, _ := d.said.Load(worker)
	said, _ := text.(string)
	answer, err := d.again(ctx, d.scripts.heartbeat, fields{
		"worker", worker.String(), "text", said, "lease_ms", queue.Lease.Milliseconds(),
	})
	return d.answer("heartbeat", worker, answer, err)
}

// Sweep implements queue.Driver.
func (d *Driver) Sweep(ctx context.Context) (int, error) {
	args := fields{"lease_ms", queue.Lease.Milliseconds(), "gap_ms", gap.Milliseconds()}
	answer, err := d.again(ctx, d.scripts.sweep, args)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	quiet, _ := answer[0].AsInt64()
	var suspects []queue.Suspect
	for rest := answer[1:]; len(rest) >= 3; rest = rest[3:] {
		lapsed, _ := rest[1].AsInt64()
		suspects = append(suspects, d.suspect(rest[0], rest[2], lapsed == 1 && quiet != 1))
	}
	swept, err := d.locks.Sweep(ctx, suspects)
	if err != nil {
		return swept, fmt.Errorf("sweep: %w", err)
	}
	return swept, nil
}

// suspect is a worker by its key and what it said. A key that is no id has no lock.
func (d *Driver) suspect(name, text rueidis.RedisMessage, lapsed bool) queue.Suspect {
	key, _ := name.ToString()
	takeBack := func(ctx context.Context, dead bool) (int, error) { return d.takeBack(ctx, key, dead) }
	s := queue.Suspect{Lapsed: lapsed, TakeBack: takeBack}
	if id, err := uuid.Parse(key); err == nil {
		info, _ := text.ToString()
		_, its := parseInfo(info)
		s.ID, s.Boot = id, its.Boot
	}
	return s
}

// takeBack is TakeBack of queue.Suspect; the jobs are counted as crashes.
func (d *Driver) takeBack(ctx context.Context, worker string, dead bool) (int, error) {
	answer, err := d.again(ctx, d.scripts.takeBack, fields{"worker", worker, "dead", dead})
	if err != nil {
		return 0, err
	}
	n, err := answer[0].AsInt64()
	return int(n), err
}

// entry is a worker as Redis has it.
type entry struct {
	id   uuid.UUID
	ends int64 // of its lease: milliseconds by Redis' clock
	info string
}

// entries returns all workers, those whose lease has lapsed too, and by which clock their times
// are.
func (d *Driver) entries(ctx context.Context) ([]entry, shift, error) {
	answer, err := d.again(ctx, d.scripts.workers, fields{"lease_ms", queue.Lease.Milliseconds()})
	if err != nil {
		return nil, 0, err
	}
	clock, err := d.shift(answer[0])
	if err != nil {
		return nil, 0, err
	}
	var all []entry
	for answer = answer[1:]; len(answer) >= 3; answer = answer[3:] {
		var e entry
		name, _ := answer[0].ToString()
		if e.id, err = uuid.Parse(name); err != nil {
			continue
		}
		e.ends, _ = answer[1].AsInt64()
		e.info, _ = answer[2].ToString()
		all = append(all, e)
	}
	return all, clock, nil
}

// parseInfo reads what a worker said, and when it registered, in milliseconds by Redis' clock. What
// cannot be read is zero.
func parseInfo(info string) (started int64, s said) {
	at, text, _ := strings.Cut(info, " ")
	if ms, err := strconv.ParseInt(at, 10, 64); err == nil {
		started = ms
	}
	json.Unmarshal([]byte(text), &s) //nolint:errcheck // as said
	return started, s
}

// Workers implements queue.Driver.
func (d *Driver) Workers(ctx context.Context) ([]queue.Seen, error) {
	entries, clock, err := d.entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	var seen []queue.Seen
	for _, e := range entries {
		started, s := parseInfo(e.info)
		end := clock.time(e.ends)
		if !end.After(d.now()) {
			continue
		}
		seen = append(seen, queue.Seen{
			Worker:    queue.Worker{ID: e.id, Host: s.Host, PID: s.PID, Version: s.Version, Handlers: s.Handlers},
			Started:   clock.time(started),
			Heartbeat: end.Add(-queue.Lease),
			Local:     s.Boot == d.locks.Boot(),
		})
	}
	slices.SortFunc(seen, func(a, b queue.Seen) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return seen, nil
}
