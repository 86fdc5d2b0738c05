package redisq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// ErrAway says that Redis cannot be used at the moment: out of reach, starting, full, a replica.
// Every call tries again. An error without it is a refusal (queue.ErrRefused): its settings, or those of
// Redis, must be changed.
var ErrAway = errors.New("redis is away")

var (
	// errConnection says that a connection was lost or could not be made; what was sent may have
	// been done.
	errConnection = errors.New("no connection")
	errClosed     = errors.New("the queue is closed")
	// errRole says that what answers is no master (any more): another connection to the same
	// address may find the new one.
	errRole = errors.New("it is a replica, and the queue writes: name the master")
	// errType says that a key of the queue has another type.
	errType = errors.New("a key of another type than the queue's")
)

const (
	// dialAgain is how long a failed dial is cached, so that concurrent callers do not all redial.
	dialAgain = 100 * time.Millisecond
	// checkEvery is how often the role and the settings of a connected server are read again: both
	// may change at run time.
	checkEvery = 10 * time.Second
)

// line is the way to Redis: it is made by the first call that needs it, and rueidis makes its
// connections again after that.
type line struct {
	mu       sync.Mutex
	client   rueidis.Client // nil: not yet
	checked  time.Time      // when the client was last checked
	checking bool           // and it is being checked again, beside the calls
	doubted  bool           // check again: another Redis may answer, or a key may have another type
	closed   bool
	ended    chan struct{} // closed by close
	attempt  *attempt      // under way
	failed   error
	failedAt time.Time
	instance string         // "INSTANCE HOST" of our database; empty: not bound
	running  sync.WaitGroup // dials, checks and calls
}

// attempt is one try to connect.
type attempt struct {
	done   chan struct{} // closed when the others stand
	client rueidis.Client
	err    error
}

func (l *line) owner() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.instance
}

// client returns the connected and checked client.
func (d *Driver) client(ctx context.Context) (rueidis.Client, error) {
	l := &d.line
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return nil, errClosed
	case l.client != nil && !l.doubted:
		defer l.mu.Unlock()
		if !l.checking && time.Since(l.checked) >= checkEvery {
			l.checking = true
			client := l.client
			l.running.Go(func() { d.recheck(client) })
		}
		return l.client, nil
	case l.attempt == nil && time.Since(l.failedAt) < dialAgain:
		defer l.mu.Unlock()
		return nil, l.failed
	case l.attempt == nil:
		l.attempt = &attempt{done: make(chan struct{})}
		a := l.attempt
		l.running.Go(func() { d.connect(a) })
	}
	a := l.attempt
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.client, a.err
	case <-ctx.Done():
		if isTimeout(ctx.Err()) {
			return nil, d.explain(ctx.Err())
		}
		return nil, fmt.Errorf("redis at %s: %w: %w", d.target.address, ErrAway, ctx.Err())
	case <-l.ended:
		return nil, errClosed
	}
}

// connect makes one attempt: a new client, or another check of the one that had lost its
// connection.
func (d *Driver) connect(a *attempt) {
	l := &d.line
	l.mu.Lock()
	client := l.client
	l.mu.Unlock()
	fresh := client == nil
	var err error
	if fresh {
		if client, err = rueidis.NewClient(d.target.option); err != nil {
			client, err = nil, d.diagnose(err) // the client that comes with an error has not been checked
		}
	}
	if err == nil {
		err = d.check(client)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.closed {
		err = errClosed
	}
	if err == nil {
		a.client, l.client, l.doubted, l.checked = client, client, false, time.Now()
	} else {
		a.err = err
		if errors.Is(err, errRole) && !fresh {
			d.forget(client)
		}
		if fresh {
			l.failed, l.failedAt = err, time.Now()
		}
		if fresh && client != nil {
			client.Close()
		}
	}
	l.attempt = nil
	close(a.done)
}

// recheck reads the role and the settings of a connected server again, beside the calls. What is
// wrong with them the next call says.
func (d *Driver) recheck(client rueidis.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), d.target.callTime)
	defer cancel()
	err := d.checkServer(ctx, client)
	l := &d.line
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checking, l.checked = false, time.Now()
	switch {
	case err == nil || l.client != client:
	case errors.Is(err, errRole):
		d.forget(client)
	default:
		l.doubted = true
	}
}

// drop gives a client up, with the connection that blocks, so that the next call dials the address
// again: what is there may be another server than the one that these connections have reached.
func (d *Driver) drop(client rueidis.Client) {
	d.line.mu.Lock()
	defer d.line.mu.Unlock()
	d.forget(client)
}

// forget is drop for a caller that holds the lock of the line.
func (d *Driver) forget(client rueidis.Client) {
	l := &d.line
	if l.client != client || l.closed {
		return
	}
	l.client, l.doubted = nil, false
	l.running.Go(func() { // closing waits for a server that does not answer
		d.notifier.disconnect()
		client.Close()
	})
}

// doubt makes the next call check the server anew.
func (l *line) doubt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubted = l.client != nil
}

// start runs f in a goroutine that close waits for, and reports whether the line is open.
func (l *line) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.running.Go(f)
	}
	return !l.closed
}

func (l *line) close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	close(l.ended)
	client := l.client
	l.mu.Unlock()
	if client != nil {
		client.Close()
	}
	l.running.Wait()
}

// Bind connects and says whose queue this is: that of the database with this instance id, which is
// on a host. Another id is refused as long as the queue stands. With an error that is ErrAway the
// binding is made as soon as Redis can be used.
func (d *Driver) Bind(ctx context.Context, instance, host string) error {
	owner := instance + " " + strings.Join(strings.Fields(host), "-")
	d.line.mu.Lock()
	d.line.instance = owner
	d.line.mu.Unlock()
	client, err := d.client(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.target.callTime)
	defer cancel()
	return d.bind(ctx, client, owner)
}

func (d *Driver) bind(ctx context.Context, client rueidis.Client, owner string) error {
	answer, err := d.exec(ctx, client, d.scripts.bind, fields{"owner", owner})
	if err != nil {
		return err
	}
	return bound(answer)
}

// bound is the error of an answer that names another database.
func bound(answer []rueidis.RedisMessage) error {
	if len(answer) == 0 {
		return nil
	}
	other, _ := answer[0].ToString()
	instance, host, _ := strings.Cut(other, " ")
	instance = strings.Trim(strconv.QuoteToASCII(instance), `"`)
	host = strings.Trim(strconv.QuoteToASCII(host), `"`)
	return refusal{fmt.Errorf("another installation uses this Redis queue (database %.8s on host %.64s): give one of "+
		"them another PI_JOB_QUEUE_NAME (docs/queue.md); a worker must run on the host and with the database of its "+
		"server", instance, host)}
}

// explain says in a sentence what an error of the client or of Redis means. None of them carries a
// password.
func (d *Driver) explain(err error) error {
	if reply, ok := rueidis.IsRedisErr(err); ok {
		return d.explainReply(reply.Error())
	}
	switch {
	case errors.Is(err, rueidis.ErrClosing):
		if d.line.isClosed() {
			return errClosed
		}
	case isTLSFault(err):
		return d.explainTLS(err)
	case isTimeout(err):
		return d.silent(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return awayError{fmt.Errorf("redis at %s closed the connection", d.target.address),
			[]error{ErrAway, errConnection, err}}
	}
	return fmt.Errorf("redis at %s: %w: %w: %w", d.target.address, ErrAway, errConnection, err)
}

// silent returns the error of a Redis that has not answered in time; err says which limit has
// passed.
func (d *Driver) silent(err error) error {
	return awayError{fmt.Errorf("redis at %s does not answer", d.target.address), []error{ErrAway, err}}
}

// awayError is an ErrAway that says one sentence; the error of the client is in its chain only.
type awayError struct {
	error
	chain []error
}

// Unwrap is for package errors.
func (a awayError) Unwrap() []error { return a.chain }

func (l *line) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// explainReply is explain for what Redis itself said.
func (d *Driver) explainReply(reply string) error {
	has := func(part string) bool { return strings.Contains(reply, part) }
	code, _, _ := strings.Cut(reply, " ")
	switch {
	case has("without any password configured"):
		return d.refuse("PI_JOB_QUEUE_URL gives a password, and it asks for none: " +
			"whoever reaches it may use it; set requirepass there, or leave the password out")
	case code == "WRONGPASS":
		return d.refuse("user or password is wrong (PI_JOB_QUEUE_URL)")
	case code == "NOAUTH":
		return d.refuse("it asks for a password: write redis://:PASSWORD@... in PI_JOB_QUEUE_URL")
	case code == "NOPERM" || has("NOPERM") || has("can't run this command") || has("No permissions"):
		return d.refuse("its user may not do what the queue needs (%s): allow +@all -@dangerous ~%s*", reply, d.prefix)
	case code == "WRONGTYPE" || has("WRONGTYPE"):
		return d.refuse("%w lies under %s*: remove it, or choose another PI_JOB_QUEUE_NAME", errType, d.prefix)
	case has("DB index is out of range"), has("invalid DB index"):
		return d.refuse("it has no such database number (PI_JOB_QUEUE_URL)")
	case has("non deterministic"):
		return d.refuse("its setting lua-replicate-commands is no: set it to yes, or use Redis 7")
	case code == "MOVED", code == "CROSSSLOT", code == "CLUSTERDOWN":
		return d.refuse("it is part of a cluster, which comes later: use a Redis of its own")
	case code == "OOM" || has("OOM command"):
		return d.refuse("%w: it is full and takes no new jobs (maxmemory)", ErrAway)
	case code == "READONLY" || has("READONLY"), code == "MASTERDOWN", code == "UNBLOCKED":
		return d.refuse("%w: %w", ErrAway, errRole)
	case code == "LOADING", code == "BUSY", code == "MISCONF", has("MISCONF"), has("max number of clients"),
		code == "NOREPLICAS":
		return d.refuse("%w: %s", ErrAway, reply)
	}
	return d.refuse("%s", reply)
}
