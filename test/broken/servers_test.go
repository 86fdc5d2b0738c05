package broken

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/secret/secrettest"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

// The three ways on which a message goes out.
const (
	inline = "inline" // in the request
	queued = "queue"  // by a worker
	button = "test"   // the test button
)

// TestServersOfTheField plays each file of testdata/servers before each way, and compares what
// became of the message, how often its content came, the report to the administrator, and the bytes
// on the wire.
func TestServersOfTheField(t *testing.T) {
	t.Parallel()
	cases := ReadCases(t, "testdata/servers")
	reported := 0
	for _, c := range cases {
		for _, source := range c.Sources {
			if strings.HasPrefix(source, "https://") {
				reported++
				break
			}
		}
		if len(c.Sources) == 0 {
			t.Errorf("%s names no source", c.Name)
		}
	}
	if len(cases) < 40 || reported < 20 {
		t.Fatalf("%d servers, %d of them reported; want 40 and 20", len(cases), reported)
	}
	t.Logf("%d servers, %d of them from a report", len(cases), reported)
	db := storetest.Open(t, time.Now)
	for _, c := range cases {
		for _, way := range []string{inline, queued, button} {
			t.Run(c.Name+" "+way, func(t *testing.T) {
				t.Parallel()
				newField(t, db, c, way).play()
			})
		}
	}
}

// field is a delivery service before one scripted server.
type field struct {
	*delivery.Service
	t      *testing.T
	c      *Case
	way    string
	script *script
	server mail.Server
	db     *store.DB
}

// Server implements delivery.Servers.
func (f *field) Server(context.Context, string) (mail.Server, error) { return f.server, nil }

// Routes implements delivery.Servers.
func (f *field) Routes(store.Reader) (map[string]mail.Route, error) {
	return map[string]mail.Route{"s": f.server.Route()}, nil
}

func newField(t *testing.T, db *store.DB, c *Case, way string) *field {
	t.Helper()
	f := &field{
		t:      t,
		c:      c,
		way:    way,
		script: c.Script.fresh(),
		server: c.Server,
		db:     db,
	}
	port := listen(t, f.script)
	f.server.Port, f.server.EnqueueJob = port, way == queued
	if c.Script.implicit {
		f.server.Server += ":" + strconv.Itoa(port)
	}
	sender := mail.NewSender(mail.SenderOptions{
		Dial: new(net.Dialer).DialContext,
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	})
	f.Service = delivery.New(delivery.Options{
		DB:       f.db,
		Keys:     secrettest.Keys(t),
		Channels: delivery.Channels{delivery.Mail: delivery.NewMail(f, sender)},
		Driver:   noDriver{},
	})
	return f
}

// noDriver replaces a queue: the test acts as the worker.
type noDriver struct{ queue.Driver }

// Enqueue implements queue.Driver.
func (noDriver) Enqueue(context.Context, ...queue.Job) error { return nil }

// RunNow implements queue.Driver.
func (noDriver) RunNow(context.Context, uuid.UUID) error { return nil }

func (f *field) play() {
	f.t.Helper()
	d := f.send()
	f.check(d)
	if f.c.Again != "" {
		before := f.script.connections()
		f.send()
		if got := f.script.wire(before); got != f.c.Again {
			f.t.Errorf("the second message: %s, want %s", got, f.c.Again)
		}
	}
	if f.c.Retry && f.way == queued {
		if err := f.Retry(f.t.Context(), d.ID, nil); err != nil {
			f.t.Fatal(err)
		}
		f.work(d.ID)
		if d = f.record(d.ID); d.State != delivery.Accepted {
			f.t.Errorf("the second try ended in %s", d.State)
		}
	}
}

// code is in each message, and must be in nothing that is kept of a server.
const code = "482913"

// send brings a message out on the way, with one try, and returns what is known of it.
func (f *field) send() delivery.Record {
	f.t.Helper()
	if f.way == button {
		d, err := f.TestMail(f.t.Context(), f.server, f.c.Recipient, "Test", "It works.")
		if err != nil {
			f.t.Fatal(err)
		}
		return d
	}
	id := uuid.Must(uuid.NewV7())
	var routes delivery.Routes
	err := f.db.Read(f.t.Context(), func(reader store.Reader) (err error) {
		routes, err = f.Service.Routes(reader)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	p, err := f.Prepare(id, delivery.Message{
		Route:     "s",
		Recipient: f.c.Recipient,
		Subject:   "Your OTP",
		Body:      "Your code is " + code,
		Code:      code,
		Serial:    "PIEM1",
		NotAfter:  f.db.Now().Add(2 * time.Minute),
	}, routes)
	if err != nil {
		f.t.Fatal(err)
	}
	var ticket delivery.Ticket
	err = f.db.Write(f.t.Context(), func(tx *store.Tx) error {
		ticket = f.Put(tx, p, delivery.Waiter{TransactionID: "01234567890123456789", Serial: "PIEM1", ChallengeID: id})
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Dispatch(f.t.Context(), ticket)
	if f.way == queued {
		f.work(id)
	}
	return f.record(id)
}

// work plays a worker that claims the message.
func (f *field) work(id uuid.UUID) {
	f.Handle(f.t.Context(), queue.Claimed{Job: queue.Job{ID: id, Kind: delivery.Kind}, Worker: uuid.Max}, func() bool {
		return true
	})
}

func (f *field) record(id uuid.UUID) delivery.Record {
	f.t.Helper()
	d, err := f.Record(f.t.Context(), id, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

// check compares what became of the first message with what the file expects.
func (f *field) check(d delivery.Record) {
	f.t.Helper()
	if want := f.state(); d.State != want {
		f.t.Errorf("state %s (%s), want %s: %+v", d.State, d.Reason, want, d.Attempts)
	}
	f.script.mu.Lock()
	mails, lines := f.script.mails, strings.Join(slices.Concat(f.script.lines...), "\n")
	f.script.mu.Unlock()
	if len(mails) != f.c.Dots {
		f.t.Errorf("%d contents came, want %d", len(mails), f.c.Dots)
	}
	if len(d.Attempts) != 1 {
		f.t.Fatalf("%d attempts, want 1", len(d.Attempts))
	}
	a := d.Attempts[0]
	if string(a.Diagnosis) != f.c.Diagnosis {
		f.t.Errorf("diagnosis %q, want %q: %d %s %q at %s", a.Diagnosis, f.c.Diagnosis, a.Code, a.Enhanced, a.Text,
			a.Phase)
	}
	if (f.server.Sentence(mail.Diagnosis(a.Diagnosis), mail.Words(a.Code, a.Enhanced, a.Text)) == "") !=
		(f.c.Diagnosis == "") {
		f.t.Errorf("there is no sentence for %q", a.Diagnosis)
	}
	// A command in parentheses need not be read any more when the client has heard enough.
	read, unread := strings.NewReplacer("(", "", ")", "").Replace(f.c.Wire), strings.ReplaceAll(f.c.Wire, ", (DATA)",
		"")
	if got := f.script.wire(0); got != read && got != unread {
		f.t.Errorf("on the wire: %s\nwant:        %s", got, f.c.Wire)
	}
	all := lines + "\n" + strings.Join(mails, "\n")
	for _, part := range f.c.Has {
		if !strings.Contains(all, part) {
			f.t.Errorf("%q did not come: %s", part, all)
		}
	}
	for _, part := range f.c.Hasnt {
		if strings.Contains(all, part) {
			f.t.Errorf("%q came", part)
		}
	}
	told := fmt.Sprintf("%+v", d)
	secrets := []string{strings.TrimSpace(f.c.Recipient), f.server.Password.Reveal()}
	if f.way != button { // its message has no code
		secrets = append(secrets, code)
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(told, s) {
			f.t.Errorf("a secret is kept: %d attempts", len(d.Attempts)) // which one is not printed
		}
	}
}

// state is how a first try ends on this way: the queue tries again, the others have one try.
func (f *field) state() delivery.State {
	switch f.c.Expect {
	case "accepted":
		return delivery.Accepted
	case "refused":
		return delivery.Failed
	case "deferred":
		if f.way == queued {
			return delivery.Deferred
		}
		return delivery.Failed
	case "unknown":
		if f.way == queued {
			return delivery.Deferred
		}
		return delivery.Unknown
	}
	f.t.Fatalf("%q is no end of a message", f.c.Expect)
	return ""
}
