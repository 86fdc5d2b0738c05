// Package redisq is the queue in Redis (6.2 or later) or Valkey.
//
// Every method is one script call: what it changes it changes at once or not at all, by Redis' own clock. Nothing is polled: one
// connection of the process blocks on a mark that whoever makes a job due sets. Concurrent Enqueue calls share a script call.
//
// Nothing that is read here is to be believed but the id: whoever can write to Redis can hand out, delay and repeat jobs, so the
// row that a job is about decides. A full Redis refuses new jobs only; claims, reports and beats go on. What Redis forgets (a
// restart, FLUSHALL) is the caller's to enqueue again.
//
// Recovery on one host does not wait for the lease (queue.HostLocks). After a time in which nobody could look for dead workers,
// nobody is swept for one lease but those whose lock says that they are dead: the others could not beat either.
package redisq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
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

// Driver is a queue in Redis. It is safe for concurrent use.
type Driver struct {
	target  *target
	prefix  string // of all keys
	locks   *queue.HostLocks
	log     *slog.Logger
	scripts *scripts
	now     func() time.Time // this process' clock
	// redisNow is the clock that scripts go by in tests; nil: Redis' own.
	redisNow func() time.Time
	claims   atomic.Int64
	kinds    kinds
	adding   batches
	warnings warnings
	bell     bell
	line     line
}

var _ queue.Driver = (*Driver)(nil)

func queueName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// Open returns the queue of a name. It reads the URL and the identity of the host and talks to nobody: the connection is made
// by Bind or by the first call, and made again when it is lost.
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
	d := &Driver{target: target, prefix: "otpost:{" + o.Queue + "}:", locks: locks, log: o.Log, scripts: newScripts(), now: time.Now}
	d.line.ended = make(chan struct{})
	return d, nil
}

// Address returns where Redis is, without user and password: "host:port", or the path of a socket.
func (d *Driver) Address() string { return d.target.address }

// Close gives up the locks of workers that are still registered, as if their process had died, and ends the connection. Calls
// that are under way end with an error. Goroutines that wait for the lock of another process's worker end with that worker.
func (d *Driver) Close() error {
	d.line.close()
	d.bell.close()
	d.adding.flights.Wait()
	return d.locks.Close()
}

// Claims. ARGV: clock, worker, most, 1 = lowest priority first, number of kinds, kinds ..., number of results, then for each: id,
// token, action, run_at, not_after, reason. It reports, promotes what is due (500 of a kind at most), and leases.
// Of ids without a ready record at most 2,000 are passed over in one call. The answer: 1 or 0 = the lease stands, ids that went
// to the dead letters because nobody can read them, for each claim id, verdict, record, and now.
//
// The mark is left where others may find work: jobs that are ready, or due within the second after which they look by themselves.
const claimScript = `
local worker, most, lowest, at = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', 6
local held, kinds = P .. 'held:' .. worker, {}
for i = 1, tonumber(ARGV[5]) do kinds[i] = ARGV[at]; at = at + 1 end
local living = alive(worker)
local results, over = tonumber(ARGV[at]), {}
at = at + 1
for first = 0, results - 1, 1000 do
  local ids = {}
  for i = first, math.min(first + 1000, results) - 1 do ids[#ids + 1] = ARGV[at + 6 * i] end
  for i, token in ipairs(call('HMGET', held, unpack(ids))) do
    local id, a = ids[i], at + 6 * (first + i - 1)
    if token == ARGV[a + 1] and not over[id] then
      local action, r = ARGV[a + 2], nil
      over[id] = true
      over[#over + 1] = id
      if action == '0' then call('HDEL', bucket(id), id) else r = load(id) end
      if r and r.state == 'l' and r.worker == worker then
        if action == '1' then
          local not_after = from(ARGV[a + 4])
          if not_after == 0 then not_after = tonumber(r.not_after) end
          schedule(id, r, from(ARGV[a + 3]), not_after)
        elseif action == '2' then ready(id, r)
        else bury(id, r, ARGV[a + 5]) end
      end
    end
  end
end
for i = 1, #over, 1000 do call('HDEL', held, unpack(over, i, math.min(i + 999, #over))) end
if not living then return {0} end
local bad, got, leased = {}, {}, {}
local function aside(id) bury(id, nil, 'nobody can read the record'); bad[#bad + 1] = id end
for _, kind in ipairs(kinds) do
  if most == 0 then break end
  local key = P .. 'sched:' .. kind
  for _, id in ipairs(call('ZRANGEBYSCORE', key, '-inf', int(now), 'LIMIT', 0, 500)) do
    local r, corrupt = load(id)
    call('ZREM', key, id)
    if corrupt then aside(id) elseif r and r.state == 's' and r.kind == kind then ready(id, r) end
  end
end
local seq = tonumber(call('GET', P .. 'seq') or 0) or 0
if seq < us or seq > 9e15 then seq = us end
local count = 0
local function lease(id, r)
  local verdict, ends = '0', tonumber(r.not_after)
  if tonumber(r.crashes) >= CRASHES_POISON then verdict = '2' elseif ends > 0 and ends <= now then verdict = '1' end
  seq = seq + 1
  count = count + 1
  r.state = 'l'; r.worker = worker; r.token = int(seq)
  leased[#leased + 1] = id
  leased[#leased + 1] = r.token
  got[#got + 1] = id
  got[#got + 1] = verdict
  got[#got + 1] = save(id, r)
end
local function older(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end
local looked = 0
for n = 0, 3 do
  local prio = n
  if lowest then prio = 3 - n end
  while count < most and looked < 2000 do
    local list, gone = {}, {}
    for _, kind in ipairs(kinds) do
      local page = call('ZRANGE', P .. 'ready:' .. kind .. ':' .. prio, 0, math.min(most - count, 500) - 1, 'WITHSCORES')
      for i = 1, #page, 2 do list[#list + 1] = {page[i], tonumber(page[i + 1]), kind} end
    end
    if #list == 0 then break end
    if #kinds > 1 then table.sort(list, older) end
    for _, c in ipairs(list) do
      if count == most then break end
      local id, kind = c[1], c[3]
      local r, corrupt = load(id)
      looked = looked + 1
      gone[kind] = gone[kind] or {}
      table.insert(gone[kind], id)
      if corrupt then aside(id) elseif r and r.state == 'r' and r.kind == kind then lease(id, r) end
    end
    for kind, list in pairs(gone) do call('ZREM', P .. 'ready:' .. kind .. ':' .. prio, unpack(list)) end
  end
end
for i = 1, #leased, 1000 do call('HSET', held, unpack(leased, i, math.min(i + 999, #leased))) end
if count > 0 then call('SET', P .. 'seq', int(seq)) end
for _, kind in ipairs(kinds) do
  local k = P .. 'ready:' .. kind .. ':'
  local first = call('ZRANGE', P .. 'sched:' .. kind, 0, 0, 'WITHSCORES')
  if call('EXISTS', k .. 0, k .. 1, k .. 2, k .. 3) > 0 or (first[2] and tonumber(first[2]) < now + 1000) then wake(kind) end
end
return {1, bad, got, now}
`

// Claim implements queue.Driver.
func (d *Driver) Claim(ctx context.Context, req queue.ClaimRequest) ([]queue.Claimed, error) {
	most := max(req.Most, 0)
	lowest := "0"
	if most > 0 && d.claims.Add(1)%queue.LowestEvery == 0 {
		lowest = "1"
	}
	d.kinds.meet(req.Kinds...)
	args := make([]string, 0, 5+len(req.Kinds)+6*len(req.Done))
	args = append(args, req.Worker.String(), strconv.Itoa(most), lowest, strconv.Itoa(len(req.Kinds)))
	args = append(args, req.Kinds...)
	args = append(args, strconv.Itoa(len(req.Done)))
	for _, r := range req.Done {
		args = append(args, r.ID.String(), strconv.FormatInt(r.Token, 10), strconv.Itoa(int(r.Action)), d.ahead(r.RunAt), d.ahead(r.NotAfter), r.Reason)
	}
	run := d.run // a claim whose answer was lost must not be made twice
	if most == 0 {
		run = d.again
	}
	answer, err := run(ctx, d.scripts.claim, args...)
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if stands, err := answer[0].AsInt64(); err != nil || stands == 0 || len(answer) < 4 {
		d.locks.Drop(req.Worker)
		return nil, queue.ErrLost
	}
	if bad, err := answer[1].AsStrSlice(); err == nil && len(bad) > 0 {
		d.log.Error("jobs that nobody can read were put aside", "jobs", len(bad), "job", strconv.Quote(bad[0]))
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

// claimed reads the claims out of the script's answer: id, verdict, record.
func claimed(worker uuid.UUID, m rueidis.RedisMessage, clock shift) ([]queue.Claimed, error) {
	answer, err := m.AsStrSlice()
	if err != nil {
		return nil, err
	}
	var all []queue.Claimed
	for ; len(answer) >= 3; answer = answer[3:] {
		c, err := parseRecord(answer[2], clock)
		if err != nil {
			return nil, err // the script has checked it
		}
		verdict, err1 := strconv.Atoi(answer[1])
		id, err2 := uuid.Parse(answer[0])
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		c.Worker, c.Verdict, c.ID = worker, queue.Verdict(verdict), id
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
	c.Kind, c.Priority, c.RunAt, c.NotAfter = f[10], queue.Priority(n[2]), clock.time(n[3]), clock.time(n[4])
	c.Token, c.Crashes = n[6], int(n[7])
	if swept, err := uuid.Parse(f[9]); err == nil {
		c.SweptOwner = swept
	}
	if payload != "" {
		c.Payload = []byte(payload)
	}
	return c, nil
}

// Report implements queue.Driver.
func (d *Driver) Report(ctx context.Context, worker uuid.UUID, results ...queue.Result) error {
	_, err := d.Claim(ctx, queue.ClaimRequest{Worker: worker, Done: results})
	return err
}

// Holds. ARGV: clock, worker, ids that it has ... The answer: 1 or 0 = the lease stands.
const holdScript = `
local worker = ARGV[2]
if not alive(worker) then return {0} end
local has = {}
for i = 3, #ARGV do has[ARGV[i]] = true end
for _, id in ipairs(call('HKEYS', P .. 'held:' .. worker)) do
  if not has[id] then
    call('HDEL', P .. 'held:' .. worker, id)
    giveBack(id, worker, false)
  end
end
return {1}
`

// Hold implements queue.Driver.
func (d *Driver) Hold(ctx context.Context, worker uuid.UUID, held []uuid.UUID) error {
	args := make([]string, 0, 1+len(held))
	args = append(args, worker.String())
	for _, id := range held {
		args = append(args, id.String())
	}
	answer, err := d.again(ctx, d.scripts.hold, args...)
	return d.answer("state what is held", worker, answer, err)
}

// answer is the error of a call in a worker's name; a worker that is lost needs its lock no longer.
func (d *Driver) answer(what string, worker uuid.UUID, answer []rueidis.RedisMessage, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if stands, err := answer[0].AsInt64(); err != nil || stands == 0 {
		d.locks.Drop(worker)
		return queue.ErrLost
	}
	return nil
}
