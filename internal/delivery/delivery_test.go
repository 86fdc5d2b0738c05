package delivery_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/smtp"
	"otpost/internal/store"
)

// clock is a hand that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// server is a Sender that plays one script per attempt: what happens before the dot, at it and after it.
type server struct {
	clock  *clock
	mu     sync.Mutex
	script []attempt
	sent   []sent // the dots that went out
}

type attempt struct {
	before   mail.Class // "" : the dot is reached
	atDot    func()     // between the dot's commit and its writing
	afterDot func()     // between the dot's writing and the outcome
	reply    mail.Class // to the dot
	code     int
	text     string
}

type sent struct {
	messageID string
	at        time.Time
}

func (s *server) next() attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.script) == 0 {
		return attempt{reply: mail.Accepted, code: 250}
	}
	a := s.script[0]
	s.script = s.script[1:]
	return a
}

// Send implements delivery.Sender as mail.Sender does: the journal is asked before the envelope and before the dot.
func (s *server) Send(ctx context.Context, _ mail.Server, m mail.Message) mail.Result {
	a := s.next()
	if err := m.Journal.BeforeWrite(ctx, smtp.Write{Envelopes: []string{m.ID}}); err != nil {
		return mail.Result{Class: mail.Unwanted, Err: err}
	}
	if a.before != "" {
		return mail.Result{Class: a.before, Phase: smtp.PhaseRcpt, Code: a.code, Text: a.text}
	}
	if err := m.Journal.BeforeWrite(ctx, smtp.Write{Dots: []string{m.ID}}); err != nil {
		return mail.Result{Class: mail.Unwanted, Err: err}
	}
	if a.atDot != nil {
		a.atDot()
	}
	if err := m.MayWrite(); err != nil {
		return mail.Result{Class: mail.Late, Phase: smtp.PhaseData}
	}
	s.mu.Lock()
	s.sent = append(s.sent, sent{m.MessageID, s.clock.now()})
	s.mu.Unlock()
	if a.afterDot != nil {
		a.afterDot()
	}
	return mail.Result{Class: a.reply, Phase: smtp.PhaseReply, Code: a.code, Text: a.text, DotWritten: true}
}

// Server implements delivery.Servers: one that queues and one that does not.
func (s *server) Server(_ context.Context, identifier string) (mail.Server, error) {
	switch identifier {
	case "queued":
		return mail.Server{Identifier: identifier, Server: "mail.example", Sender: "pi@example.com", Timeout: 10 * time.Second, EnqueueJob: true}, nil
	case "inline":
		return mail.Server{Identifier: identifier, Server: "mail.example", Sender: "pi@example.com", Timeout: 10 * time.Second}, nil
	}
	return mail.Server{}, store.ErrNotFound
}

// rig is a service on a real database with a scripted server.
type rig struct {
	*delivery.Service
	t      *testing.T
	db     *store.DB
	clock  *clock
	server *server
	log    *syncBuffer
	ended  []delivery.Outcome
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t *testing.T, script ...attempt) *rig {
	t.Helper()
	r := openRig(t, script...)
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// openRig is newRig for who closes it himself.
func openRig(t *testing.T, script ...attempt) *rig {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "otpost.db"), Migrate: true, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.NewKeys(secret.NewKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, db: db, clock: c, server: &server{clock: c, script: script}, log: &syncBuffer{}}
	r.Service = delivery.New(delivery.Options{
		DB: db, Keys: keys, Servers: r.server, Sender: r.server, Driver: noDriver{}, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Jitter:    func(n int64) int64 { return n - 1 },
		OnOutcome: func(_ *store.Tx, o delivery.Outcome) error { r.ended = append(r.ended, o); return nil },
	})
	return r
}

// noDriver stands for a queue outside the database: the tests play the worker themselves.
type noDriver struct{ queue.Driver }

// Enqueue implements queue.Driver.
func (noDriver) Enqueue(context.Context, ...queue.Job) error { return nil }

const life = 120 * time.Second

// put makes a delivery with one waiter and returns its ticket and the challenge that waits.
func (r *rig) put(route string) (delivery.Ticket, uuid.UUID) {
	r.t.Helper()
	id, challenge := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	p, err := r.Prepare(r.t.Context(), id, delivery.Message{
		Route: route, Recipient: "alice@example.com", Subject: "Your OTP", Body: "482913", Code: "482913", Serial: "PIEM00000001",
		NotAfter: r.db.Now().Add(life),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var ticket delivery.Ticket
	err = r.db.Write(r.t.Context(), func(tx *store.Tx) error {
		ticket = r.Put(tx, p, delivery.Waiter{TransactionID: "01234567890123456789", Serial: "PIEM00000001", ChallengeID: challenge})
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ticket, challenge
}

// work plays a worker that claims the delivery.
func (r *rig) work(worker uuid.UUID, ticket delivery.Ticket, claim queue.Claimed) queue.Result {
	claim.ID, claim.Kind, claim.Worker = ticket.ID, delivery.Kind, worker
	return r.Handle(r.t.Context(), claim, func() bool { return true })
}

func (r *rig) story(ticket delivery.Ticket) delivery.Story {
	r.t.Helper()
	s, err := r.Story(r.t.Context(), ticket.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) wantState(ticket delivery.Ticket, want delivery.State) {
	r.t.Helper()
	if got := r.story(ticket); got.State != want {
		r.t.Fatalf("state %s (%s), want %s; log:\n%s", got.State, got.Reason, want, r.log)
	}
}

func (r *rig) drop(challenge uuid.UUID) {
	r.t.Helper()
	err := r.db.Write(r.t.Context(), func(tx *store.Tx) error {
		return r.Drop(tx, r.db.Now(), delivery.Answered, challenge)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

var (
	workerA = uuid.MustParse("00000000-0000-0000-0000-00000000000a")
	workerB = uuid.MustParse("00000000-0000-0000-0000-00000000000b")
)

func TestAcceptedMessageIsSentOnceAndErased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Fatalf("job: %+v", got)
	}
	r.wantState(ticket, delivery.Accepted)
	if got := r.work(workerB, ticket, queue.Claimed{}); got.Action != queue.Done {
		t.Fatalf("second claim: %+v", got)
	}
	if len(r.server.sent) != 1 {
		t.Fatalf("%d copies", len(r.server.sent))
	}
	var sealed []byte
	err := r.db.Read(t.Context(), func(rd store.Reader) error {
		return rd.Get([]any{&sealed}, `SELECT sealed FROM delivery WHERE id = $1`, ticket.ID[:])
	})
	if err != nil || sealed != nil {
		t.Fatalf("content is still there: %d bytes, %v", len(sealed), err)
	}
}

func TestTemporaryRefusalIsRetriedWithinItsLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: mail.Unreachable}, attempt{reply: mail.Temporary, code: 451}, attempt{reply: mail.Accepted, code: 250})
	ticket, _ := r.put("queued")
	tries := 0
	for got := (queue.Result{Action: queue.Retry}); got.Action == queue.Retry; tries++ {
		if got.RunAt.After(r.clock.now()) {
			if early := r.work(workerA, ticket, queue.Claimed{}); early.Action != queue.Retry {
				t.Fatalf("handled before its time: %+v", early)
			}
			r.clock.advance(got.RunAt.Sub(r.clock.now()))
		}
		got = r.work(workerA, ticket, queue.Claimed{})
	}
	r.wantState(ticket, delivery.Accepted)
	story := r.story(ticket)
	if tries != 3 || len(story.Attempts) != 3 || story.Attempts[0].DotAt != nil || story.Attempts[1].Code != 451 {
		t.Fatalf("%d tries, attempts %+v", tries, story.Attempts)
	}
}

func TestDeadServerEndsInFailedBeforeTheEndOfItsLife(t *testing.T) {
	t.Parallel()
	var script []attempt
	for range 100 {
		script = append(script, attempt{before: mail.Unreachable})
	}
	r := newRig(t, script...)
	ticket, _ := r.put("queued")
	end := r.clock.now().Add(life)
	for got := (queue.Result{Action: queue.Retry}); got.Action == queue.Retry; {
		r.clock.advance(max(0, got.RunAt.Sub(r.clock.now())))
		got = r.work(workerA, ticket, queue.Claimed{})
	}
	r.wantState(ticket, delivery.Failed)
	if left := end.Sub(r.clock.now()); left < 14*time.Second {
		t.Fatalf("last try %s before the end, want 15 s", left)
	}
	if n := strings.Count(r.log.String(), "level=ERROR"); n != 1 {
		t.Fatalf("%d ERROR lines, want 1:\n%s", n, r.log)
	}
	if n := len(r.story(ticket).Attempts); n < 6 {
		t.Fatalf("%d attempts in 105 s, want 0, 0.5, 1.5, 3.5, 7.5 ... s", n)
	}
}

func TestPermanentRefusalIsTriedOnce(t *testing.T) {
	t.Parallel()
	for _, a := range []attempt{{before: mail.Permanent, code: 550}, {reply: mail.Permanent, code: 554}} {
		r := newRig(t, a)
		ticket, _ := r.put("queued")
		if got := r.work(workerA, ticket, queue.Claimed{}); got.Action != queue.Done {
			t.Fatalf("job: %+v", got)
		}
		r.wantState(ticket, delivery.Failed)
	}
}

func TestNoDotAfterItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.clock.advance(life)
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Expired)

	// between the commit of the dot and its writing
	late := newRig(t)
	late.server.script = []attempt{{atDot: func() { late.clock.advance(life) }}}
	ticket, _ = late.put("queued")
	late.work(workerA, ticket, queue.Claimed{})
	late.wantState(ticket, delivery.Expired)
	if n := len(r.server.sent) + len(late.server.sent); n != 0 {
		t.Fatalf("%d dots after the end", n)
	}
}

func TestExpiredVerdictOfAValidRowRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{Verdict: queue.Expired})
	r.wantState(ticket, delivery.Accepted)
}

func TestPoisonedJobFailsItsDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{Verdict: queue.Poisoned})
	r.wantState(ticket, delivery.Failed)
}

func TestAnsweredMessageIsDroppedAndNeverSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, challenge := r.put("queued")
	r.drop(challenge)
	r.wantState(ticket, delivery.Dropped)
	r.work(workerA, ticket, queue.Claimed{})
	if len(r.server.sent) != 0 {
		t.Fatal("sent although nobody waits")
	}
}

func TestDropDoesNothingWhileTheDotIsOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, challenge := r.put("queued")
	r.server.script = []attempt{{afterDot: func() { r.drop(challenge); r.wantState(ticket, delivery.Sending) }, reply: mail.Temporary, code: 451}}
	got := r.work(workerA, ticket, queue.Claimed{})
	if got.Action != queue.Retry {
		t.Fatalf("job: %+v", got)
	}
	r.clock.advance(got.RunAt.Sub(r.clock.now()))
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Dropped)
	if len(r.server.sent) != 1 {
		t.Fatalf("%d copies", len(r.server.sent))
	}
}

func TestLostReplyIsRetriedWithTheSameMessageID(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{reply: mail.Unknown}, attempt{reply: mail.Permanent, code: 554})
	ticket, _ := r.put("queued")
	got := r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Deferred)
	r.clock.advance(got.RunAt.Sub(r.clock.now()))
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Unknown) // not failed: the first copy may have arrived
	if s := r.server.sent; len(s) != 2 || s[0].messageID != s[1].messageID {
		t.Fatalf("copies: %+v", s)
	}
}

// crash is a worker's death between dot and outcome: its outcome is never written.
func (r *rig) crash(ticket delivery.Ticket, worker uuid.UUID) {
	died := errors.New("kill -9")
	defer func() {
		if recover() != died { //nolint:errorlint // the very value
			r.t.Fatal("the worker lived on")
		}
	}()
	r.server.script = append([]attempt{{afterDot: func() { panic(died) }}}, r.server.script...)
	r.work(worker, ticket, queue.Claimed{})
}

func TestDotOfADeadWorkerIsTakenOverWhenTheSweepNamesIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.crash(ticket, workerA)
	r.wantState(ticket, delivery.Sending)
	if got := r.work(workerB, ticket, queue.Claimed{}); got.Action != queue.Retry || !got.RunAt.After(r.clock.now()) {
		t.Fatalf("taken over without proof that its owner is gone: %+v", got)
	}
	got := r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
	if got.Action != queue.Retry || got.RunAt.After(r.clock.now()) {
		t.Fatalf("job: %+v", got)
	}
	r.work(workerB, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
	if s := r.server.sent; len(s) != 2 || s[0].messageID != s[1].messageID {
		t.Fatalf("copies: %+v", s)
	}
	if a := r.story(ticket).Attempts; len(a) != 2 || a[0].Class != "unknown" || a[0].Ended == nil {
		t.Fatalf("attempts: %+v", a)
	}
}

func TestPausedWorkerWritesNothingOverANewerState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.server.script = []attempt{{
		afterDot: func() { // it sleeps here, is swept, and another one delivers
			r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
			r.work(workerB, ticket, queue.Claimed{})
		},
		reply: mail.Permanent, code: 554, text: "late",
	}}
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Accepted)
	if a := r.story(ticket).Attempts; a[0].Text != "late" {
		t.Fatalf("the late reply is lost: %+v", a)
	}
}

func TestInlineHasOneTryAndItsFailureIsFinal(t *testing.T) {
	t.Parallel()
	for _, a := range []attempt{{before: mail.Unreachable}, {reply: mail.Temporary, code: 451}, {before: mail.Permanent, code: 550}} {
		r := newRig(t, a)
		ticket, _ := r.put("inline")
		o := r.Dispatch(t.Context(), ticket)[0]
		if o.State != delivery.Failed || o.Promising() {
			t.Fatalf("outcome %+v", o)
		}
		if len(r.ended) != 1 || r.ended[0].State != delivery.Failed || r.ended[0].Via != delivery.ViaInline {
			t.Fatalf("told: %+v", r.ended)
		}
	}
	r := newRig(t, attempt{reply: mail.Unknown})
	ticket, _ := r.put("inline")
	if o := r.Dispatch(t.Context(), ticket)[0]; o.State != delivery.Unknown || o.Promising() {
		t.Fatalf("outcome %+v", o)
	}
}

func TestQueuedIsPromisedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	if o := r.Dispatch(t.Context(), ticket)[0]; !o.Promising() || len(r.server.sent) != 0 {
		t.Fatalf("outcome %+v, %d sent", o, len(r.server.sent))
	}
}

func TestLapsedLeaseWritesNoDot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	fresh := true
	r.server.script = []attempt{{atDot: func() { fresh = false }}}
	got := r.Handle(t.Context(), queue.Claimed{Job: queue.Job{ID: ticket.ID}, Worker: workerA}, func() bool { return fresh })
	if got.Action != queue.Retry || len(r.server.sent) != 0 {
		t.Fatalf("job %+v, %d sent", got, len(r.server.sent))
	}
	r.wantState(ticket, delivery.Deferred)
}

func TestJobWithoutARowIsPutAside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.work(workerA, delivery.Ticket{ID: uuid.Must(uuid.NewV7())}, queue.Claimed{})
	if got.Action != queue.Dead || got.Reason == "" {
		t.Fatalf("job: %+v", got)
	}
}

func TestUnknownServerIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.Prepare(t.Context(), uuid.Must(uuid.NewV7()), delivery.Message{Route: "nosuch", Recipient: "a@example.com", NotAfter: r.db.Now()})
	if !errors.Is(err, delivery.ErrNoRoute) {
		t.Fatal(err)
	}
}

func TestLogHoldsNoCodeAndNoAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{reply: mail.Permanent, code: 554})
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{})
	for _, s := range []string{"482913", "alice@example.com"} {
		if strings.Contains(r.log.String(), s) {
			t.Fatalf("the log holds %d bytes that it must not", len(s))
		}
	}
}

func TestStatusTellsTheStoryWithoutAddresses(t *testing.T) {
	t.Parallel()
	r := newRig(t, attempt{before: mail.Unreachable})
	ticket, _ := r.put("queued")
	status := func() delivery.Status {
		s, err := r.Status(t.Context(), "01234567890123456789")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); s.State != delivery.OnItsWay || len(s.Messages) != 1 || !s.NextTry.IsZero() || s.ResendAfter != r.db.Now().Add(life/2) {
		t.Fatalf("queued: %+v", s)
	}
	got := r.work(workerA, ticket, queue.Claimed{})
	if s := status(); s.State != delivery.OnItsWay || !s.NextTry.Equal(got.RunAt) {
		t.Fatalf("deferred: %+v", s)
	}
	r.clock.advance(got.RunAt.Sub(r.clock.now()))
	r.work(workerA, ticket, queue.Claimed{})
	if s := status(); s.State != delivery.Sent || s.ResendAfter != r.db.Now() {
		t.Fatalf("accepted: %+v", s)
	}
}

// relay runs one round of the relay.
func (r *rig) relay() {
	r.t.Helper()
	if err := r.RelayRound(r.t.Context(), "relay"); err != nil {
		r.t.Fatal(err)
	}
}
