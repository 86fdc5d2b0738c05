package redisq

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// What a queue has in Redis. All keys begin with otpost:{NAME}: and so lie in one slot of a cluster.
//
//	job:0 ... job:63   HASH  id -> record, by the id's last two digits; a million fields in one hash would block its move and end
//	ready:LINE:PRIO    ZSET  id -> run_at of what can be claimed; the order of a claim without sorting. A stale job
//	                         that claims pass over is moved behind all others: 1e14 more
//	sched:LINE         ZSET  id -> run_at of what is not due yet
//	mark:KIND          ZSET  one member: something may be due; the process that pops it looks
//	kinds              SET   the lines: every KIND that was ever added, and KIND/LANE while jobs lie there
//	workers            ZSET  worker -> end of its lease
//	info               HASH  worker -> "STARTED JSON": what it said when it registered
//	held:WORKER        HASH  id -> token of the claim, for what it holds
//	dead, why          ZSET  id -> since when it is kept aside; HASH id -> reason
//	seq                the highest claim token
//	swept              "LAST QUIET": when somebody last looked for dead workers, and until when lapsed ones are left alone
//	bound              "INSTANCE HOST": the database that the queue belongs to
//
// A LINE is the jobs of one kind and lane: KIND for the lane "", else KIND/LANE, the lane escaped as in a path of a
// URL. There are mostLines at most; the jobs of further lanes are of the lane "".
//
// A record is "1 STATE PRIO RUN_AT NOT_AFTER CREATED TOKEN CRASHES WORKER SWEPT LINE" up to the first line end, and
// the payload after it. STATE is r(eady), s(cheduled), l(eased) or d(ead); times are milliseconds, NOT_AFTER 0 is
// none; WORKER and SWEPT may be "-". Whether a job exists says its record alone: an id elsewhere without one is
// dropped when it is met, so that a job is cancelled by HDEL.

// mostDead is how many dead letters are kept; the oldest go first.
const mostDead = 10_000

// mostLines is how many lines there are at most before new lanes are not told apart: a claim looks at each.
const mostLines = 256

// library is what all scripts begin with. They take the key `workers`, from which they have the others, and as their first
// argument a time in milliseconds to go by: empty but in tests, and then it is Redis' own. That clock and
// the caller's are never compared: a caller gives times as milliseconds from now (empty: none), and gets
// them beside the script's own now.
//
// load(id) returns the record's fields; nil and true when there is one that nobody can read, or the id is none.
const library = `
local call, find, sub = redis.call, string.find, string.sub
local P = sub(KEYS[1], 1, -8)
local t = call('TIME')
local real = t[1] * 1000 + math.floor(t[2] / 1000)
local now, us = real, t[1] * 1000000 + t[2]
if ARGV[1] ~= '' then now = tonumber(ARGV[1]); us = now * 1000 end
local function int(n) return string.format('%.0f', n) end
local function from(ms) return ms == '' and 0 or math.max(now + tonumber(ms), 1) end
local function bucket(id) return P .. 'job:' .. (tonumber(sub(id, -2), 16) or 0) % 64 end
local x4 = '%x%x%x%x'
local uuid = '^' .. x4 .. x4 .. '%-' .. x4 .. '%-' .. x4 .. '%-' .. x4 .. '%-' .. x4 .. x4 .. x4 .. '$'
local function load(id)
  local raw = call('HGET', bucket(id), id)
  if not raw then return nil, false end
  local _, e, state, prio, run_at, not_after, created, token, crashes, worker, swept, kind =
    find(raw, '^1 ([rsld]) ([01]) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)\n')
  if not e or #run_at > 15 or #not_after > 15 or #created > 15 or #token > 16 or #crashes > 6 or not find(id, uuid) or string.lower(id) ~= id then
    return nil, true
  end
  return {state = state, prio = prio, run_at = run_at, not_after = not_after, created = created, token = token, crashes = crashes,
    worker = worker, swept = swept, kind = kind, payload = sub(raw, e + 1)}, false
end
local function save(id, r)
  local raw = '1 ' .. r.state .. ' ' .. r.prio .. ' ' .. r.run_at .. ' ' .. r.not_after .. ' ' .. r.created .. ' ' .. r.token .. ' ' ..
    r.crashes .. ' ' .. r.worker .. ' ' .. r.swept .. ' ' .. r.kind .. '\n' .. r.payload
  call('HSET', bucket(id), id, raw)
  return raw
end
local marked = {}
local function wake(line)
  local kind = string.match(line, '^[^/]*')
  if not marked[kind] then call('ZADD', P .. 'mark:' .. kind, 0, 'due'); marked[kind] = true end
end
local known = {}
local function know(line)
  if not known[line] and call('SADD', P .. 'kinds', line) == 1 then wake(line) end
  known[line] = true
end
local function lines(kinds, full)
  local all, asked = {}, {}
  for _, kind in ipairs(kinds) do
    asked[kind] = true
    if not full[''] then all[#all + 1] = kind end
  end
  for _, line in ipairs(call('SMEMBERS', P .. 'kinds')) do
    local kind, lane = string.match(line, '^([^/]*)/(.*)$')
    if kind and asked[kind] and not full[lane] then all[#all + 1] = line end
  end
  return all
end
local function waiting(line)
  local k = P .. 'ready:' .. line .. ':'
  return call('EXISTS', k .. 0, k .. 1) > 0
end
local function ready(id, r)
  r.state = 'r'; r.worker = '-'
  save(id, r)
  know(r.kind)
  call('ZADD', P .. 'ready:' .. r.kind .. ':' .. r.prio, r.run_at, id)
  wake(r.kind)
end
local function schedule(id, r, run_at, not_after)
  if run_at == 0 then run_at = now end
  if not_after > 0 and run_at > not_after then run_at = not_after end
  r.run_at = int(run_at); r.not_after = int(not_after)
  if run_at <= now then return ready(id, r) end
  r.state = 's'; r.worker = '-'
  save(id, r)
  know(r.kind)
  local key = P .. 'sched:' .. r.kind
  call('ZADD', key, r.run_at, id)
  if call('ZRANGE', key, 0, 0)[1] == id then wake(r.kind) end
end
local function bury(id, r, reason)
  if r then r.state = 'd'; r.worker = '-'; save(id, r) end
  call('ZADD', P .. 'dead', int(now), id)
  call('HSET', P .. 'why', id, reason)
  if call('ZCARD', P .. 'dead') > MOST_DEAD then
    local old = call('ZPOPMIN', P .. 'dead')[1]
    call('HDEL', bucket(old), old)
    call('HDEL', P .. 'why', old)
  end
end
local function alive(worker)
  local ends = call('ZSCORE', KEYS[1], worker)
  return ends and tonumber(ends) > now
end
local function giveBack(id, worker, crashed)
  local r = load(id)
  if not r or r.state ~= 'l' or r.worker ~= worker then return 0 end
  if crashed then r.crashes = int(r.crashes + 1); r.swept = worker end
  ready(id, r)
  return 1
end
`

// whenFull begins the scripts that must run when Redis is full: after one write that is allowed then, the others are, too. The
// script that adds jobs does not begin so, for that is what has to stop.
const whenFull = "redis.call('ZREM', KEYS[1], '')\n"

// scripts are the scripts of a driver, made once: their names in Redis are hashes of their text. It has
// a field for each.
type scripts struct {
	check, bind, enqueue, runNow, claim, reconcile, heartbeat, register, leave, look *rueidis.Lua
	remark, sweep, takeBack, workers, status, bucket, dead, purge                    *rueidis.Lua
}

func newScripts() *scripts {
	library := strings.NewReplacer("MOST_DEAD", strconv.Itoa(mostDead)).Replace(library)
	constants := strings.NewReplacer(
		"LEASE", ms(queue.Lease), "GAP", ms(gap),
		"STALE_AFTER", ms(queue.StaleAfter), "MOST_PASSED", strconv.Itoa(queue.MostPassed),
		"MOST_LINES", strconv.Itoa(mostLines),
	)
	full := func(s string) *rueidis.Lua { return rueidis.NewLuaScript(whenFull + library + constants.Replace(s)) }
	return &scripts{
		check:     rueidis.NewLuaScript(checkScript),
		bind:      full(bindScript),
		enqueue:   rueidis.NewLuaScript(library + bindFunction + constants.Replace(enqueueScript)),
		runNow:    full(runNowScript),
		claim:     full(claimScript),
		reconcile: full(reconcileScript),
		heartbeat: full(heartbeatScript),
		register:  full(bindFunction + registerScript),
		leave:     full(leaveScript),
		look:      rueidis.NewLuaScript(library + lookScript),
		remark:    full(remarkScript),
		sweep:     full(sweepScript),
		takeBack:  full(takeBackScript),
		workers:   rueidis.NewLuaScript(library + constants.Replace(workersScript)),
		status:    rueidis.NewLuaScript(library + statusScript),
		bucket:    rueidis.NewLuaScript(library + bucketScript),
		dead:      rueidis.NewLuaScript(library + deadScript),
		purge:     full(purgeScript),
	}
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// ahead is a time as scripts take it: milliseconds from now, rounded up, so that no job is due before
// its time; the zero time is empty.
func (d *Driver) ahead(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	left := t.Sub(d.now())
	ms := left.Milliseconds()
	if left > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return strconv.FormatInt(ms, 10)
}

// shift is how far this process' clock is ahead of the one that a script has gone by.
type shift time.Duration

// shift returns the shift by the now of a script that has just answered.
func (d *Driver) shift(now rueidis.RedisMessage) (shift, error) {
	ms, err := now.AsInt64()
	return shift(d.now().Sub(time.UnixMilli(ms))), err
}

// time is the time that a script gave, by this process' clock; 0 is the zero time.
func (s shift) time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).Add(time.Duration(s)).UTC()
}

// run runs a script with the clock and args, and returns the array that it answers.
func (d *Driver) run(ctx context.Context, s *rueidis.Lua, args ...string) ([]rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, d.target.callTime)
	defer cancel()
	client, err := d.client(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := d.exec(ctx, client, s, args...)
	switch {
	case errors.Is(err, errType): // the check names the key, and refuses every call until it is gone: none works beside others that fail
		d.line.doubt()
		if _, refused := d.client(ctx); errors.Is(refused, queue.ErrRefused) {
			err = refused
		}
	case errors.Is(err, errRole):
		d.drop(client)
	case errors.Is(err, errConnection):
		d.line.doubt()
	}
	return answer, err
}

// again is run for scripts that may run twice: when the connection was lost, or its server demoted, since the last
// call, which shows only now, they are sent once more by a new one.
func (d *Driver) again(ctx context.Context, s *rueidis.Lua, args ...string) ([]rueidis.RedisMessage, error) {
	answer, err := d.run(ctx, s, args...)
	if err != nil && ctx.Err() == nil && (errors.Is(err, errConnection) || errors.Is(err, errRole)) {
		return d.run(ctx, s, args...)
	}
	return answer, err
}

func (d *Driver) exec(ctx context.Context, client rueidis.Client, s *rueidis.Lua, args ...string) ([]rueidis.RedisMessage, error) {
	all := append(make([]string, 0, 1+len(args)), d.clock())
	all = append(all, args...)
	done := make(chan rueidis.RedisResult, 1)
	// The client dials inside a call when its connection was lost, and does not watch the context meanwhile.
	if !d.line.start(func() { done <- s.Exec(ctx, client, []string{d.key("workers")}, all) }) {
		return nil, errClosed
	}
	select {
	case result := <-done:
		answer, err := result.ToArray()
		if err != nil {
			return nil, d.explain(err)
		}
		return answer, nil
	case <-ctx.Done():
		return nil, d.explain(ctx.Err())
	}
}

// clock is the time that scripts are to go by: none but in tests.
func (d *Driver) clock() string {
	if d.redisNow == nil {
		return ""
	}
	return strconv.FormatInt(d.redisNow().UnixMilli(), 10)
}

func (d *Driver) key(name string) string { return d.prefix + name }
