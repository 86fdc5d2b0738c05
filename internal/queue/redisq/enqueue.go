package redisq

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"otpost/internal/queue"
)

// What goes into one script call: Redis does nothing else meanwhile.
const (
	mostJobs  = 500
	mostBytes = 1 << 20
	flights   = 2 // script calls under way at once: one is made ready while another runs
)

// Adds jobs. ARGV: clock, instance and host or empty, then for each job id, kind, priority, run_at, not_after, payload (times 0: now,
// never). It begins with a write that a full Redis refuses, and so refuses all or nothing. The answer: empty, or who else has the
// queue, and then nothing was added: after a Redis was emptied, another database may have been first. A record counts as known only
// where its job is in the structure that its state names: what somebody has edited out of all of them comes back so.
const enqueueScript = `
local function waits(id)
  local r = load(id)
  if not r then return false end
  if r.state == 'l' then return call('HEXISTS', P .. 'held:' .. r.worker, id) == 1 end
  if r.state == 's' then return call('ZSCORE', P .. 'sched:' .. r.kind, id) end
  return r.state == 'r' and call('ZSCORE', P .. 'ready:' .. r.kind .. ':' .. r.prio, id)
end
local other = bind(ARGV[2])
if other then return {other} end
local met = {}
for i = 3, #ARGV, 6 do
  local id, kind = ARGV[i], ARGV[i + 1]
  if not met[kind] then call('SADD', P .. 'kinds', kind); met[kind] = true end
  if not waits(id) then
    schedule(id, {prio = ARGV[i + 2], created = int(now), token = '0', crashes = '0', swept = '-', kind = kind, payload = ARGV[i + 5]},
      tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]))
    if call('ZREM', P .. 'dead', id) == 1 then call('HDEL', P .. 'why', id) end
  end
end
return {}
`

// Enqueue implements queue.Driver. A lone call goes out at once; what is called while others are under way shares the next one.
// When ctx ends before the answer, the jobs may have been added.
func (d *Driver) Enqueue(ctx context.Context, jobs ...queue.Job) error {
	for _, j := range jobs {
		if err := j.Check(); err != nil {
			return fmt.Errorf("enqueue %s: %w", j.ID, err)
		}
		if !kindName(j.Kind) || j.Priority < queue.Urgent || j.Priority > queue.Idle {
			return fmt.Errorf("enqueue %s: kind %q or priority %d is none", j.ID, j.Kind, j.Priority)
		}
		d.kinds.meet(j.Kind)
	}
	var mine []*batch
	for _, j := range jobs {
		if b := d.add(j); len(mine) == 0 || mine[len(mine)-1] != b {
			mine = append(mine, b)
		}
	}
	for range mine {
		d.fly()
	}
	for _, b := range mine {
		select {
		case <-b.done:
			if b.err != nil {
				return fmt.Errorf("enqueue: %w", b.err)
			}
		case <-ctx.Done():
			return fmt.Errorf("enqueue: %w", ctx.Err())
		}
	}
	return nil
}

// kindName reports whether a kind can be part of a key.
func kindName(kind string) bool {
	return kind != "" && len(kind) <= 64 && strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// kinds are those that this process has had to do with: the check looks at their keys.
type kinds struct {
	mu  sync.Mutex
	met []string
}

func (k *kinds) meet(names ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(k.met, name) {
			k.met = append(k.met, name)
		}
	}
}

func (k *kinds) list() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.met)
}

// batches are the jobs that wait for a script call.
type batches struct {
	mu      sync.Mutex
	waiting []*batch
	flying  int
	flights sync.WaitGroup
}

// batch is what goes into one call.
type batch struct {
	args  []string
	bytes int
	done  chan struct{} // closed when err stands
	err   error
}

// add puts a job into the last batch that waits and has room.
func (d *Driver) add(j queue.Job) *batch {
	b := &d.adding
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.waiting)
	if n == 0 || len(b.waiting[n-1].args) >= 6*mostJobs || b.waiting[n-1].bytes+len(j.Payload) > mostBytes {
		b.waiting = append(b.waiting, &batch{done: make(chan struct{})})
		n++
	}
	last := b.waiting[n-1]
	last.bytes += len(j.Payload)
	last.args = append(last.args, j.ID.String(), j.Kind, strconv.Itoa(int(j.Priority)), millis(j.RunAt), millis(j.NotAfter), string(j.Payload))
	return last
}

// fly sees to it that what waits is sent, and does not wait for it.
func (d *Driver) fly() {
	b := &d.adding
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flying >= flights || len(b.waiting) == 0 {
		return
	}
	b.flying++
	b.flights.Go(func() {
		for next := b.next(); next != nil; next = b.next() {
			next.err = d.addAll(next.args)
			close(next.done)
		}
	})
}

// addAll is one script call.
func (d *Driver) addAll(jobs []string) error {
	args := append([]string{d.line.owner()}, jobs...)
	answer, err := d.again(context.Background(), d.scripts.enqueue, args...) // bounded by the time of a call
	if err != nil {
		return err
	}
	return bound(answer)
}

// next takes the batch that has waited longest; nil when there is none and the flight has ended.
func (b *batches) next() *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.flying--
		return nil
	}
	first := b.waiting[0]
	b.waiting = b.waiting[1:]
	return first
}
