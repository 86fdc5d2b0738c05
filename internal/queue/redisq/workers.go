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

// gap is the time without a look for dead workers after which Redis must have been away from all of them: each looks twice a
// second.
const gap = 3 * time.Second

// said is what a worker says about itself. What Redis answers for it is shown to administrators and decides nothing.
type said struct {
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	Version  string `json:"version"`
	Handlers int    `json:"handlers"`
	Boot     string `json:"boot"`
}

// Registers. ARGV: clock, instance and host (or empty), worker, its JSON. The answer: empty, or another "INSTANCE HOST" that
// the queue is bound to; then nothing has changed.
const registerScript = `
local other = bind(ARGV[2])
if other then return {other} end
call('HSET', P .. 'info', ARGV[3], int(now) .. ' ' .. ARGV[4])
call('ZADD', KEYS[1], int(now + LEASE), ARGV[3])
return {}
`

// Register implements queue.Driver. The worker's lock is taken first: an entry without one would look dead.
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
	answer, err := d.again(ctx, d.scripts.register, d.line.owner(), worker.String(), text)
	if err != nil {
		return err
	}
	return bound(answer)
}

// Leaves. ARGV: clock, worker. The answer is empty.
const leaveScript = `
call('ZREM', KEYS[1], ARGV[2])
call('HDEL', P .. 'info', ARGV[2])
for _, id in ipairs(call('HKEYS', P .. 'held:' .. ARGV[2])) do giveBack(id, ARGV[2], false) end
call('UNLINK', P .. 'held:' .. ARGV[2])
return {}
`

// Unregister implements queue.Driver.
func (d *Driver) Unregister(ctx context.Context, worker uuid.UUID) error {
	if _, err := d.again(ctx, d.scripts.leave, worker.String()); err != nil {
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

// Renews a lease. ARGV: clock, worker, its JSON, which is set where it is missing. The answer: 1 or 0 = the lease stood.
const heartbeatScript = `
if not alive(ARGV[2]) then return {0} end
if ARGV[3] ~= '' then call('HSETNX', P .. 'info', ARGV[2], int(now) .. ' ' .. ARGV[3]) end
call('ZADD', KEYS[1], int(now + LEASE), ARGV[2])
return {1}
`

// Heartbeat implements queue.Driver.
func (d *Driver) Heartbeat(ctx context.Context, worker uuid.UUID) error {
	text, _ := d.said.Load(worker)
	said, _ := text.(string)
	answer, err := d.again(ctx, d.scripts.heartbeat, worker.String(), said)
	return d.answer("heartbeat", worker, answer, err)
}

// Looks for workers to sweep. ARGV: clock. When nobody has looked for a time, lapsed leases are left alone for the length of one:
// nobody could beat either. That time is measured by Redis' own clock, in tests too. The answer: 1 = they are left alone, then
// for each worker its id, 1 = its lease has lapsed, what it said.
//
// A lease that ends later than one can was given before Redis' clock was set back: it ends a lease from now.
const sweepScript = `
local last, quiet = string.match(call('GET', P .. 'swept') or '', '^(%d+) (%d+)$')
last = tonumber(last) or real
quiet = math.min(tonumber(quiet) or 0, real + LEASE)
if real - last > GAP then quiet = real + LEASE end
call('SET', P .. 'swept', int(real) .. ' ' .. int(quiet))
local answer = {quiet > real and 1 or 0}
for i, v in ipairs(call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do
  if i % 2 == 1 then answer[#answer + 1] = v
  else
    if tonumber(v) > now + LEASE then call('ZADD', KEYS[1], int(now + LEASE), answer[#answer]) end
    answer[#answer + 1] = tonumber(v) <= now and 1 or 0
    answer[#answer + 1] = call('HGET', P .. 'info', answer[#answer - 1]) or ''
  end
end
return answer
`

// Sweep implements queue.Driver.
func (d *Driver) Sweep(ctx context.Context) (int, error) {
	answer, err := d.again(ctx, d.scripts.sweep)
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
	s := queue.Suspect{Lapsed: lapsed, TakeBack: func(ctx context.Context, dead bool) (int, error) { return d.takeBack(ctx, key, dead) }}
	if id, err := uuid.Parse(key); err == nil {
		info, _ := text.ToString()
		_, its := parseInfo(info)
		s.ID, s.Boot = id, its.Boot
	}
	return s
}

// Takes a dead worker's jobs back. ARGV: clock, worker, 1 = whatever its lease says. The answer: how many.
const takeBackScript = `
local worker, n = ARGV[2], 0
local ends = call('ZSCORE', KEYS[1], worker)
if not ends or (ARGV[3] ~= '1' and tonumber(ends) > now) then return {0} end
call('ZREM', KEYS[1], worker)
call('HDEL', P .. 'info', worker)
for _, id in ipairs(call('HKEYS', P .. 'held:' .. worker)) do n = n + giveBack(id, worker, true) end
call('UNLINK', P .. 'held:' .. worker)
return {n}
`

// takeBack is TakeBack of queue.Suspect; the jobs are counted as crashes.
func (d *Driver) takeBack(ctx context.Context, worker string, dead bool) (int, error) {
	forced := "0"
	if dead {
		forced = "1"
	}
	answer, err := d.again(ctx, d.scripts.takeBack, worker, forced)
	if err != nil {
		return 0, err
	}
	n, err := answer[0].AsInt64()
	return int(n), err
}

// Lists the workers. ARGV: clock. The answer: now, then for each: id, end of the lease, what it said.
const workersScript = `
local answer = {now}
for i, v in ipairs(call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do
  if i % 2 == 1 then answer[#answer + 1] = v
  else
    answer[#answer + 1] = int(math.min(tonumber(v), now + LEASE))
    answer[#answer + 1] = call('HGET', P .. 'info', answer[#answer - 1]) or ''
  end
end
return answer
`

// entry is a worker as Redis has it.
type entry struct {
	id   uuid.UUID
	ends int64 // of its lease: milliseconds by Redis' clock
	info string
}

// entries returns all workers, those whose lease has lapsed too, and by which clock their times are.
func (d *Driver) entries(ctx context.Context) ([]entry, shift, error) {
	answer, err := d.again(ctx, d.scripts.workers)
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

// parseInfo reads what a worker said, and when it registered, in milliseconds by Redis' clock. What cannot be read
// is zero.
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
