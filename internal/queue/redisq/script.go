package redisq

import (
	"context"
	"embed"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// What a queue has in Redis. All keys begin with otpost:{NAME}: and so lie in one slot of a
// cluster.
//
//	job:0 ... job:63   HASH  id -> record, by the id's last two digits
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
//	swept              "LAST QUIET": when a sweep last ran, and until when lapsed workers are left alone
//	bound              "INSTANCE HOST": the database that the queue belongs to
//
// A LINE is the jobs of one kind and lane: KIND for the lane "", else KIND/LANE, the lane escaped
// as in a path of a URL. There are mostLines at most; the jobs of further lanes are of the lane "".
//
// A record is "1 STATE PRIO RUN_AT NOT_AFTER CREATED TOKEN CRASHES WORKER SWEPT LINE" up to the
// first line end, and the payload after it. STATE is r(eady), s(cheduled), l(eased) or d(ead);
// times are milliseconds, NOT_AFTER 0 is none; WORKER and SWEPT may be "-". Whether a job exists
// says its record alone: an id elsewhere without one is dropped when it is met, so that a job is
// cancelled by HDEL.

// mostDead is how many dead letters are kept; the oldest go first.
const mostDead = 10_000

// mostLines is how many lines there are at most before new lanes are not told apart: a claim looks
// at each.
const mostLines = 256

//go:embed lua/*.lua
var lua embed.FS //nolint:gochecknoglobals // files of the program

// scripts are the scripts of a driver, made once: their names in Redis are hashes of their text.
// Each is a file of the folder lua, whose head names its keys, its arguments and its result. It has
// a field for each.
type scripts struct {
	check, bind, enqueue, runNow, claim, reconcile, heartbeat, register, leave, look *rueidis.Lua
	remark, sweep, takeBack, workers, status, bucket, dead, purge                    *rueidis.Lua
}

func newScripts() *scripts {
	text := func(name string) string {
		b, err := lua.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // a file of the program is missing
		}
		return string(b)
	}
	library := text("library")
	plain := func(name string) *rueidis.Lua { return rueidis.NewLuaScript(library + text(name)) }
	full := func(name string) *rueidis.Lua { return rueidis.NewLuaScript(whenFull + library + text(name)) }
	return &scripts{
		check:     rueidis.NewLuaScript(text("check")),
		bind:      full("bind"),
		enqueue:   plain("enqueue"),
		runNow:    full("runnow"),
		claim:     full("claim"),
		reconcile: full("reconcile"),
		heartbeat: full("heartbeat"),
		register:  full("register"),
		leave:     full("leave"),
		look:      plain("look"),
		remark:    full("remark"),
		sweep:     full("sweep"),
		takeBack:  full("takeback"),
		workers:   plain("workers"),
		status:    plain("status"),
		bucket:    plain("bucket"),
		dead:      plain("dead"),
		purge:     full("purge"),
	}
}

// whenFull begins the scripts that must run when Redis is full: after one write that is allowed
// then, the others are, too. The script that adds jobs does not begin so, for that is what has to
// stop.
const whenFull = "redis.call('ZREM', KEYS[1], '')\n"

// ahead is a time as scripts take it: milliseconds from now, rounded up, so that no job is due
// before its time; nil for the zero time.
func (d *Driver) ahead(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	left := t.Sub(d.now())
	ms := left.Milliseconds()
	if left > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
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

// run runs a script with its argument, and returns the array that it answers.
func (d *Driver) run(ctx context.Context, s *rueidis.Lua, args fields) ([]rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, d.target.callTime)
	defer cancel()
	client, err := d.client(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := d.exec(ctx, client, s, args)
	switch {
	case errors.Is(err, errType): // the check names the key, and refuses every call until it is gone
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

// again is run for scripts that may run twice: when the connection was lost, or its server demoted,
// since the last call, which shows only now, they are sent once more by a new one.
func (d *Driver) again(ctx context.Context, s *rueidis.Lua, args fields) ([]rueidis.RedisMessage, error) {
	answer, err := d.run(ctx, s, args)
	if err != nil && ctx.Err() == nil && (errors.Is(err, errConnection) || errors.Is(err, errRole)) {
		return d.run(ctx, s, args)
	}
	return answer, err
}

// exec is run on a client.
func (d *Driver) exec(
	ctx context.Context, client rueidis.Client, s *rueidis.Lua, args fields,
) ([]rueidis.RedisMessage, error) {
	if d.redisNow != nil { // tests
		args = append(args, "now", d.redisNow().UnixMilli())
	}
	packed := []string{string(args.pack(nil))}
	done := make(chan rueidis.RedisResult, 1)
	// The client dials inside a call when its connection was lost, and does not watch the context
	// meanwhile.
	if !d.line.start(func() { done <- s.Exec(ctx, client, []string{d.key("workers")}, packed) }) {
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

func (d *Driver) key(name string) string { return d.prefix + name }
