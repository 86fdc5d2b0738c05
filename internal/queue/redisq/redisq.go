// Package redisq is the queue in Redis (6.2 or later) or Valkey.
//
// Every method is one script call: what it changes it changes at once or not at all, by Redis' own
// clock. Nothing is polled: one connection of the process blocks on a mark, which is set when a job
// becomes due. Concurrent Enqueue calls share a script call.
//
// Only the id of a job that is read here is believed. Every program that can write to Redis can hand
// out, delay and repeat jobs, so the row that a job is about decides. A full Redis refuses new jobs
// only; claims, reports and heartbeats go on. The caller enqueues again what Redis forgets (a
// restart, FLUSHALL).
//
// Recovery on one host does not wait for the lease (queue.HostLocks). After a time in which no sweep
// ran, only workers whose lock says that they are dead are swept for the length of one lease: the
// other workers could not renew their leases either.
package redisq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// Options say which queue to open.
type Options struct {
	URL     string       // as redis-py reads it (url.go); empty: redis://localhost:6379/0
	Queue   string       // its name: [a-z0-9_-]{1,64}
	LockDir string       // where the workers' lock files lie; all processes of a host must name the same folder
	Log     *slog.Logger // discards
}

// Driver is a queue in Redis. It is safe for concurrent use. It has a field for each thing that its
// calls share.
type Driver struct {
	target  *target
	prefix  string // of all keys
	locks   *queue.HostLocks
	log     *slog.Logger
	scripts *scripts
	now     func() time.Time // this process' clock
	// redisNow is the clock that scripts go by in tests; nil: Redis' own.
	redisNow func() time.Time
	claims   atomic.Int64 // that were for jobs
	said     sync.Map     // worker of this process -> its JSON
	kinds    kinds
	adding   batches
	warnings warnings
	notifier notifier
	line     line
}

var _ queue.Driver = (*Driver)(nil)

func queueName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// Open returns the queue of a name. It reads the URL and the identity of the host and uses
// no network: the connection is made by Bind or by the first call, and made again when it is lost.
func Open(o Options) (*Driver, error) {
	if !queueName(o.Queue) {
		return nil, fmt.Errorf("queue name %q: use 1 to 64 of a-z, 0-9, _ and -", o.Queue)
	}
	if o.LockDir == "" {
		return nil, errors.New("no folder for the workers' lock files")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	target, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	locks, err := queue.NewHostLocks(o.LockDir, "redisq."+o.Queue+".") // queue names have no dot
	if err != nil {
		return nil, err
	}
	for _, w := range target.warnings {
		o.Log.Warn("option of the queue's URL", "err", w)
	}
	d := &Driver{
		target:  target,
		prefix:  "otpost:{" + o.Queue + "}:",
		locks:   locks,
		log:     o.Log,
		scripts: newScripts(),
		now:     time.Now,
	}
	d.line.ended = make(chan struct{})
	return d, nil
}

// Address returns where Redis is, without user and password: "host:port", or the path of a socket.
func (d *Driver) Address() string { return d.target.address }

// Close gives up the locks of workers that are still registered, as if their process had died, and
// ends the connection. Calls that are under way end with an error. Goroutines that wait for the
// lock of another process's worker end with that worker.
func (d *Driver) Close() error {
	d.line.close()
	d.notifier.close()
	d.adding.flights.Wait()
	return d.locks.Close()
}

// Claim implements queue.Driver.
func (d *Driver) Claim(ctx context.Context, req queue.ClaimRequest) ([]queue.Claimed, error) {
	most := max(req.Most, 0)
	lowest := most > 0 && d.claims.Add(1)%queue.LowestEvery == 0
	d.kinds.meet(req.Kinds...)
	done := make([]fields, 0, len(req.Done))
	for _, r := range req.Done {
		done = append(done, d.result(r))
	}
	args := fields{
		"worker", req.Worker.String(),
		"most", most,
		"lowest", lowest,
		"kinds", req.Kinds,
		"full", escaped(req.Full),
		"done", done,
		"stale_after_ms", queue.StaleAfter.Milliseconds(),
		"most_passed", queue.MostPassed,
		"most_dead", mostDead,
	}
	run := d.run // a claim whose answer was lost must not be made twice
	if most == 0 {
		run = d.again
	}
	answer, err := run(ctx, d.scripts.claim, args)
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if stands, err := answer[0].AsInt64(); err != nil || stands == 0 || len(answer) < 4 {
		d.parted(req.Worker)
		return nil, queue.ErrLost
	}
	if bad, err := answer[1].AsStrSlice(); err == nil && len(bad) > 0 {
		d.log.Error("unreadable jobs marked dead", "jobs", len(bad), "job", strconv.Quote(bad[0]))
	}
	shift, err := d.shift(answer[3])
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	got, err := claimed(req.Worker, answer[2], shift)
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	return got, nil
}

// result is a result as the script takes it.
func (d *Driver) result(r queue.Result) fields {
	f := fields{"id", r.ID.String(), "token", strconv.FormatInt(r.Token, 10), "action", int(r.Action)}
	switch r.Action {
	case queue.Retry:
		return append(f, "run_at", d.ahead(r.RunAt), "not_after", d.ahead(r.NotAfter))
	case queue.DeadLetter:
		return append(f, "reason", r.Reason)
	}
	return f
}

// claimed reads the claims out of the script's answer: id, record.
func claimed(worker uuid.UUID, m rueidis.RedisMessage, clock shift) ([]queue.Claimed, error) {
	answer, err := m.AsStrSlice()
	if err != nil {
		return nil, err
	}
	var all []queue.Claimed
	for ; len(answer) >= 2; answer = answer[2:] {
		c, err := parseRecord(answer[1], clock)
		if err != nil {
			return nil, err // the script has checked it
		}
		if c.ID, err = uuid.Parse(answer[0]); err != nil {
			return nil, err
		}
		c.Worker = worker
		all = append(all, c)
	}
	return all, nil
}

// parseRecord reads a record (script.go).
func parseRecord(record string, clock shift) (c queue.Claimed, err error) {
	head, payload, _ := strings.Cut(record, "\n")
	f := strings.Split(head, " ")
	if len(f) != 11 {
		return c, fmt.Errorf("a record of %d fields", len(f))
	}
	var n [8]int64 // version, -, priority, run_at, not_after, created, token, crashes
	for _, i := range []int{2, 3, 4, 6, 7} {
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return c, err
		}
	}
	c.Kind, c.Lane = parseLine(f[10])
	c.Priority, c.RunAt, c.NotAfter = queue.Priority(n[2]), clock.time(n[3]), clock.time(n[4])
	c.Token, c.Crashes = n[6], int(n[7])
	if swept, err := uuid.Parse(f[9]); err == nil {
		c.SweptOwner = swept
	}
	if payload != "" {
		c.Payload = []byte(payload)
	}
	return c, nil
}

// lineOf is the line of a kind and a lane (script.go).
func lineOf(kind, lane string) string {
	if lane == "" {
		return kind
	}
	return kind + "/" + url.PathEscape(lane)
}

// parseLine reads a line. A lane that lineOf cannot have written is the lane "".
func parseLine(line string) (kind, lane string) {
	kind, lane, _ = strings.Cut(line, "/")
	lane, err := url.PathUnescape(lane)
	if err != nil || (queue.Job{Lane: lane}).Check() != nil {
		return kind, ""
	}
	return kind, lane
}

// escaped is lanes as they are in lines.
func escaped(lanes []string) []string {
	all := make([]string, 0, len(lanes))
	for _, lane := range lanes {
		all = append(all, url.PathEscape(lane))
	}
	return all
}

// Report implements queue.Driver.
func (d *Driver) Report(ctx context.Context, worker uuid.UUID, results ...queue.Result) error {
	_, err := d.Claim(ctx, queue.ClaimRequest{Worker: worker, Done: results})
	return err
}

// Reconcile implements queue.Driver.
func (d *Driver) Reconcile(ctx context.Context, worker uuid.UUID, held []uuid.UUID) error {
	ids := make([]string, 0, len(held))
	for _, id := range held {
		ids = append(ids, id.String())
	}
	answer, err := d.again(ctx, d.scripts.reconcile, fields{"worker", worker.String(), "held", ids})
	return d.answer("state what is held", worker, answer, err)
}

// answer is the error of a call in a worker's name; a worker that is lost needs its lock no longer.
func (d *Driver) answer(what string, worker uuid.UUID, answer []rueidis.RedisMessage, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if stands, err := answer[0].AsInt64(); err != nil || stands == 0 {
		d.parted(worker)
		return queue.ErrLost
	}
	return nil
}
