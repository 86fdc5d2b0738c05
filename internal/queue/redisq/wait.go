package redisq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	// popTime is how long a pop blocks. If the process that popped a mark dies, the others look
	// after so long.
	popTime = time.Second
	// failedPause is how soon Wait returns when it cannot look.
	failedPause = 100 * time.Millisecond
	// claimTime is how long after a mark was popped a claim must follow, or the mark is set again
	// for other processes; doubled for each such mark in a row, mostVain times at most.
	claimTime = 10 * time.Millisecond
	mostVain  = 4
)

// Wait implements queue.Driver. A process whose callers wait for different kinds may see a job of a
// kind that none of them waited for before up to a second late; so does one whose connection for
// blocking commands does not work, which is logged.
//
// It says nothing of a queue that fails: it returns soon, for the claim that follows says what is
// the matter at that time. An error of its own would be read after other calls, and tell an outage
// that is over.
func (d *Driver) Wait(ctx context.Context, kinds, full []string, most time.Duration) error {
	d.kinds.meet(kinds...)
	failed := 0 // pops in a row
	for begun := time.Now(); ; {
		left, err := d.look(ctx, kinds, full)
		pause := most - time.Since(begun)
		switch {
		case ctx.Err() != nil, errors.Is(err, errClosed):
			return err
		case err != nil:
			return d.rest(ctx, min(pause, failedPause))
		case left == 0, pause <= 0:
			return nil
		}
		if left > 0 {
			pause = min(pause, time.Duration(left)*time.Millisecond)
		}
		switch err := d.await(ctx, kinds, pause); {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errClosed):
			return err
		case err == nil:
			failed = 0
		default:
			if failed++; failed == 1 { // it may have hung while the server did
				continue
			}
			d.notifier.complain(d.log, err)
			if err := d.rest(ctx, min(pause, popTime)); err != nil {
				return err
			}
		}
	}
}

// look returns how many milliseconds are left until a job of the kinds is due, as the script says
// it.
func (d *Driver) look(ctx context.Context, kinds, full []string) (int64, error) {
	answer, err := d.again(ctx, d.scripts.look, fields{"kinds", kinds, "full", escaped(full)})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("look for the next job: %w", err)
	}
	return answer[0].AsInt64()
}

// await waits for the notifier.
func (d *Driver) await(ctx context.Context, kinds []string, most time.Duration) error {
	w := d.listen(kinds)
	defer d.notifier.leave(w)
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case err := <-w.notified:
		return err
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rest waits without the notifier.
func (d *Driver) rest(ctx context.Context, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.line.ended:
		return errClosed
	}
}

// notifier wakes the callers of Wait. While there are some, a goroutine pops marks on a connection
// of its own.
type notifier struct {
	mu      sync.Mutex
	waiters []*waiter
	popping bool
	closed  bool
	vain    int                     // marks in a row after which no claim followed
	told    time.Time               // when it was last logged that popping fails beside a server that answers
	conn    rueidis.DedicatedClient // nil: none
	ended   sync.WaitGroup
}

// waiter is one call of Wait between two looks.
type waiter struct {
	kinds    []string
	notified chan error // has room for the one call of notify
}

// listen adds a waiter, to be notified once. What is marked after its look is not missed: a mark
// stays until it is popped.
func (d *Driver) listen(kinds []string) *waiter {
	w := &waiter{kinds: kinds, notified: make(chan error, 1)}
	n := &d.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		w.notified <- errClosed
		return w
	}
	n.waiters = append(n.waiters, w)
	if !n.popping {
		n.popping = true
		n.ended.Go(d.pop)
	}
	return w
}

func (n *notifier) leave(w *waiter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiters = slices.DeleteFunc(n.waiters, func(o *waiter) bool { return o == w })
}

// notify ends the waits for a kind (all: empty), and returns how many they were.
func (n *notifier) notify(kind string, err error) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := len(n.waiters)
	n.waiters = slices.DeleteFunc(n.waiters, func(w *waiter) bool {
		if kind != "" && !slices.Contains(w.kinds, kind) {
			return false
		}
		w.notified <- err
		return true
	})
	return before - len(n.waiters)
}

// wanted lists the kinds that are waited for. When there are none, the popping has ended.
func (n *notifier) wanted() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var kinds []string
	for _, w := range n.waiters {
		kinds = append(kinds, w.kinds...)
	}
	slices.Sort(kinds)
	n.popping = len(kinds) > 0 && !n.closed
	if !n.popping {
		return nil
	}
	return slices.Compact(kinds)
}

// pop pops marks until nothing waits any more. A mark that no caller here wants (any more), or
// after which no claim follows, is put back for other processes.
func (d *Driver) pop() {
	for kinds := d.notifier.wanted(); kinds != nil; kinds = d.notifier.wanted() {
		kind, err := d.popOne(kinds)
		if errors.Is(err, errConnection) { // it may have been lost since the last pop, which shows only now
			kind, err = d.popOne(kinds)
		}
		claims := d.claims.Load()
		switch n := d.notifier.notify(kind, err); {
		case kind == "":
		case n == 0:
			d.putBack(kind)
		default:
			d.expectClaim(kind, claims)
		}
	}
}

// expectClaim sets a mark again unless more than so many claims begin soon: all handlers here may
// have become busy, or the job be in a lane that is full here.
func (d *Driver) expectClaim(kind string, claims int64) {
	n := &d.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	timer := time.NewTimer(claimTime << min(n.vain, mostVain))
	n.ended.Go(func() {
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.line.ended:
			return
		}
		claimed := d.claims.Load() > claims
		n.mu.Lock()
		if n.vain++; claimed {
			n.vain = 0
		}
		n.mu.Unlock()
		if !claimed {
			//nolint:errcheck // without it the other processes look within popTime
			d.again(context.Background(), d.scripts.remark, fields{"kind", kind})
		}
	})
}

// popOne waits for a mark, at most popTime, and returns its kind; empty: none came. The wait is the
// command's own: one that is given up by its context would end the connection and could lose the
// mark. The context is for a network that says nothing.
func (d *Driver) popOne(kinds []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), popTime+d.target.callTime)
	defer cancel()
	client, conn, err := d.blocking(ctx)
	if err != nil {
		return "", err
	}
	keys := make([]string, 0, len(kinds))
	for _, k := range kinds {
		keys = append(keys, d.key("mark:"+k))
	}
	popped, err := conn.Do(ctx, conn.B().Bzpopmin().Key(keys...).Timeout(popTime.Seconds()).Build()).AsStrSlice()
	switch {
	case rueidis.IsRedisNil(err):
		return "", nil
	case err != nil:
		d.notifier.disconnect()
		switch err = d.explain(err); {
		case errors.Is(err, errType):
			d.line.doubt()
		case errors.Is(err, errRole):
			d.drop(client)
		}
		return "", fmt.Errorf("wait for a job: %w", err)
	case len(popped) == 0:
		return "", nil
	}
	return strings.TrimPrefix(popped[0], d.key("mark:")), nil
}

// blocking returns the connection for blocking commands and the client that it belongs to.
func (d *Driver) blocking(ctx context.Context) (rueidis.Client, rueidis.DedicatedClient, error) {
	client, err := d.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	n := &d.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil, errClosed
	}
	if n.conn == nil {
		n.conn, _ = client.Dedicate() // disconnect gives it back by closing it
	}
	return client, n.conn, nil
}

// complain says, once a minute, that waiting works by looks alone.
func (n *notifier) complain(log *slog.Logger, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.told) < time.Minute {
		return
	}
	n.told = time.Now()
	log.Warn("waiting for jobs fails beside a queue that answers, looked for each second", "err", err)
}

// disconnect ends the connection for blocking commands.
func (n *notifier) disconnect() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}

func (d *Driver) putBack(kind string) {
	ctx, cancel := context.WithTimeout(context.Background(), d.target.callTime)
	defer cancel()
	if client, err := d.client(ctx); err == nil {
		// Without it the other processes look within popTime.
		client.Do(ctx, client.B().Zadd().Key(d.key("mark:"+kind)).ScoreMember().ScoreMember(0, "due").Build())
	}
}

// close wakes everybody with an error and ends the popping.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.disconnect()
	n.notify("", errClosed)
	n.ended.Wait()
}
