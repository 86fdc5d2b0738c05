package redisq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// check looks at a server that answers: version and role, the right to run our scripts, types of
// keys, what it throws away and what it keeps; then it binds the queue.
func (d *Driver) check(client rueidis.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.target.callTime)
	defer cancel()
	if err := d.checkServer(ctx, client); err != nil {
		return err
	}
	if err := d.checkPassword(ctx, client); err != nil {
		return err
	}
	answer, err := d.exec(ctx, client, d.scripts.check, fields{"kinds", d.kinds.list()})
	if err != nil {
		return err
	}
	if len(answer) >= 2 {
		key, _ := answer[0].ToString()
		kind, _ := answer[1].ToString()
		return d.refuse("the key %s is a %s of another program: remove it, or choose another PI_JOB_QUEUE_NAME", key, kind)
	}
	return d.bind(ctx, client, d.line.owner())
}

// checkServer reads what may change while a connection stands: version and role, clock, and the
// settings of the memory.
func (d *Driver) checkServer(ctx context.Context, client rueidis.Client) error {
	if err := d.checkVersion(ctx, client); err != nil {
		return err
	}
	if err := d.checkClock(ctx, client); err != nil {
		return err
	}
	return d.checkMemory(ctx, client)
}

// mostApart is how far the clocks of Redis' host and of this one may lie apart without a warning.
const mostApart = time.Second

// checkClock warns when the clocks lie apart. The queue does not compare them; logs of the two
// hosts, and administrators, do.
func (d *Driver) checkClock(ctx context.Context, client rueidis.Client) error {
	asked := d.now()
	answer, err := client.Do(ctx, client.B().Time().Build()).AsIntSlice()
	if _, told := rueidis.IsRedisErr(err); told || err == nil && len(answer) != 2 {
		return nil
	}
	if err != nil {
		return d.explain(err)
	}
	answered := d.now()
	ahead := time.Unix(answer[0], 1_000*answer[1]).Sub(asked.Add(answered.Sub(asked) / 2))
	apart := ahead.Abs() > mostApart+answered.Sub(asked)/2
	d.warn(apart, "clocks of redis and of this host differ: no job is late for that, set them by one source",
		"redis_ahead", ahead.Round(time.Millisecond))
	return nil
}

// warnings are what was found wrong with the server and logged.
type warnings struct {
	mu   sync.Mutex
	told map[string]bool
}

// warn logs what was found, once until a later check does not find it.
func (d *Driver) warn(found bool, text string, args ...any) {
	w := &d.warnings
	w.mu.Lock()
	defer w.mu.Unlock()
	if found && !w.told[text] {
		d.log.Warn(text, args...)
	}
	if w.told == nil {
		w.told = make(map[string]bool)
	}
	w.told[text] = found
}

// refuse makes an error with the address; it is a refusal unless it says ErrAway.
func (d *Driver) refuse(format string, args ...any) error {
	err := fmt.Errorf("redis at %s: "+format, append([]any{d.target.address}, args...)...)
	if errors.Is(err, ErrAway) {
		return err
	}
	return refusal{err}
}

// refusal is an error that is a queue.ErrRefused and says its own sentence only.
type refusal struct{ error }

// Unwrap is for package errors.
func (r refusal) Unwrap() []error { return []error{r.error, queue.ErrRefused} }

// checkVersion reads HELLO, which answers where INFO is forbidden.
func (d *Driver) checkVersion(ctx context.Context, client rueidis.Client) error {
	hello, err := client.Do(ctx, client.B().Arbitrary("HELLO").Build()).AsMap()
	if reply, ok := rueidis.IsRedisErr(err); ok {
		if strings.Contains(reply.Error(), "unknown command") {
			return d.refuse("it is older than 6.2, which the queue needs")
		}
		d.warn(true, "version of redis cannot be read", "err", reply.Error())
		return nil
	}
	if err != nil {
		return d.explain(err)
	}
	said := func(key string) string { m := hello[key]; s, _ := m.ToString(); return s }
	version := said("version")
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	switch {
	case err1 == nil && err2 == nil && (a < 6 || a == 6 && b < 2):
		return d.refuse("it is version %q, and the queue needs 6.2 or later", version)
	case said("mode") == "cluster":
		return d.refuse("it is part of a cluster, which comes later: use a Redis of its own")
	case said("mode") == "sentinel":
		return d.refuse("it is a Sentinel, which comes later: name the Redis itself")
	case said("role") != "" && said("role") != "master":
		return d.refuse("%w: %w", ErrAway, errRole)
	}
	return nil
}

// checkPassword refuses a password that the server does not ask for: its administrator believes the
// server to be locked, and it is open. HELLO, by which the client logs in, accepts any password;
// AUTH with the password alone is refused.
func (d *Driver) checkPassword(ctx context.Context, client rueidis.Client) error {
	o := d.target.option
	if o.Password == "" || (o.Username != "" && o.Username != "default") {
		return nil
	}
	if err := client.Do(ctx, client.B().Auth().Password(o.Password).Build()).Error(); err != nil {
		return d.explain(err)
	}
	return nil
}

// checkMemory refuses a server that throws jobs away when it is full.
func (d *Driver) checkMemory(ctx context.Context, client rueidis.Client) error {
	ask := func(name string) (string, error) {
		values, err := client.Do(ctx, client.B().ConfigGet().Parameter(name).Build()).AsStrMap()
		return values[name], err
	}
	policy, err := ask("maxmemory-policy")
	switch _, told := rueidis.IsRedisErr(err); {
	case told, err == nil && policy == "":
		d.warn(true, "redis does not tell its configuration: see to it that maxmemory-policy is noeviction, and "+
			"appendonly yes")
		return nil
	case err != nil:
		return d.explain(err)
	case policy != "noeviction":
		return d.refuse("its maxmemory-policy is %q, so that it throws jobs away when it is full: set noeviction", policy)
	}
	appendOnly, err := ask("appendonly")
	if err != nil {
		return d.explain(err)
	}
	if save, err := ask("save"); err == nil {
		d.warn(appendOnly != "yes", "redis keeps no append-only file: what was queued last is forgotten when it stops, "+
			"and comes later from the database", "save", save)
	}
	return nil
}
