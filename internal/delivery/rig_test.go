package delivery_test

import (
	"context"
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
	"otpost/internal/secret/secrettest"
	"otpost/internal/smtp"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
)

// server plays one script per attempt: what happens before the dot, at it and after it. It is what is behind
// each channel of the tests: mail as a Sender, and the second channel (slice_test.go).
type server struct {
	clock  *storetest.Clock
	mu     sync.Mutex
	script []attempt
	sent   []sent // the dots that went out
}

type attempt struct {
	before   delivery.Class // "" : the dot is reached
	early    func()         // between the envelope's yes and what happens before the dot
	atDot    func()         // between the dot's commit and its writing
	afterDot func()         // between the dot's writing and the outcome
	twice    bool           // commits once more after the dot
	reply    delivery.Class // to the dot
	code     int
	text     string

	phases    []mail.Phase
	diagnosis mail.Diagnosis
}

type sent struct {
	messageID string
	at        time.Time
}

func (s *server) next() attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.script) == 0 {
		return attempt{reply: delivery.ClassAccepted, code: 250}
	}
	a := s.script[0]
	s.script = s.script[1:]
	return a
}

// write notes a dot that goes out.
func (s *server) write(messageID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, sent{messageID, s.clock.Now()})
}

// Send implements delivery.Sender as mail.Sender does: the journal is asked before the envelope and before the dot.
func (s *server) Send(ctx context.Context, _ mail.Server, m mail.Message) mail.Result {
	a := s.next()
	if err := m.Journal.BeforeWrite(ctx, smtp.Write{ID: m.ID}); err != nil {
		return mail.Result{Class: mail.Unwanted, Err: err}
	}
	if a.early != nil {
		a.early()
	}
	if a.before != "" {
		return mail.Result{Class: mail.Class(a.before), Phase: smtp.PhaseRcpt, Code: a.code, Text: a.text, Phases: a.phases,
			Diagnosis: a.diagnosis}
	}
	dot := smtp.Write{ID: m.ID, Dot: true}
	if err := m.Journal.BeforeWrite(ctx, dot); err != nil {
		return mail.Result{Class: mail.Unwanted, Err: err}
	}
	if a.atDot != nil {
		a.atDot()
	}
	if err := m.MayWrite(); err != nil {
		return mail.Result{Class: mail.Late, Phase: smtp.PhaseData}
	}
	s.write(m.MessageID)
	if a.afterDot != nil {
		a.afterDot()
	}
	if a.twice {
		if err := m.Journal.BeforeWrite(ctx, dot); err != nil {
			return mail.Result{Class: mail.Unwanted, Err: err}
		}
	}
	return mail.Result{Class: mail.Class(a.reply), Phase: smtp.PhaseReply, Code: a.code, Text: a.text, DotWritten: true}
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

// Routes implements delivery.Servers.
func (s *server) Routes(store.Reader) (map[string]mail.Route, error) {
	all := map[string]mail.Route{}
	for _, name := range []string{"queued", "inline"} {
		one, err := s.Server(context.Background(), name)
		if err != nil {
			return nil, err
		}
		all[name] = one.Route()
	}
	return all, nil
}

// rig is a service on a real database with a scripted server.
type rig struct {
	*delivery.Service
	t       *testing.T
	path    string // of the database
	channel string
	db      *store.DB
	clock   *storetest.Clock
	server  *server
	log     *syncBuffer
	mu      sync.Mutex
	ended   []delivery.Outcome // guarded by mu; the outcomes of one round may come at once
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
	return newRigOn(t, delivery.Mail, script...)
}

// newRigOn is newRig with another channel.
func newRigOn(t *testing.T, channel string, script ...attempt) *rig {
	t.Helper()
	r := openRig(t, channel, script...)
	t.Cleanup(r.close)
	return r
}

// rigMaker is newRig for one of the channels.
type rigMaker func(t *testing.T, script ...attempt) *rig

// onEachChannel runs a test over mail and over the second channel.
func onEachChannel(t *testing.T, test func(t *testing.T, newRig rigMaker)) {
	t.Parallel()
	for _, channel := range []string{delivery.Mail, slice} {
		t.Run(channel, func(t *testing.T) {
			t.Parallel()
			test(t, func(t *testing.T, script ...attempt) *rig { return newRigOn(t, channel, script...) })
		})
	}
}

func (r *rig) close() {
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// openRig is newRig for who closes it himself.
func openRig(t *testing.T, channel string, script ...attempt) *rig {
	t.Helper()
	c := storetest.NewClock()
	path := filepath.Join(t.TempDir(), "otpost.db")
	storetest.Create(t, path)
	db, err := store.Open(t.Context(), store.Options{
		Path:     path,
		Migrate:  true,
		Now:      c.Now,
		Prepared: storetest.Record(),
		Twice:    true,
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := secrettest.Keys(t)
	r := &rig{t: t, path: path, channel: channel, db: db, clock: c, server: &server{clock: c, script: script}, log: &syncBuffer{}}
	r.Service = delivery.New(delivery.Options{
		DB:       db,
		Keys:     keys,
		Channels: delivery.Channels{delivery.Mail: delivery.NewMail(r.server, r.server), slice: sliceChannel{r.server}},
		Driver:   noDriver{},
		Log:      slog.New(slog.NewTextHandler(r.log, nil)),
		Jitter:   func(n int64) int64 { return n - 1 },
		OnOutcome: func(tx *store.Tx, o delivery.Outcome) error {
			tx.AfterCommit(func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.ended = append(r.ended, o)
			})
			return nil
		},
	})
	return r
}

// noDriver stands for a queue outside the database: the tests play the worker themselves.
type noDriver struct{ queue.Driver }

// Enqueue implements queue.Driver.
func (noDriver) Enqueue(context.Context, ...queue.Job) error { return nil }

const life = 120 * time.Second

// prepare is Prepare with the routes of now.
func (r *rig) prepare(id uuid.UUID, m delivery.Message) (delivery.Prepared, error) {
	r.t.Helper()
	var routes delivery.Routes
	err := r.db.Read(r.t.Context(), func(reader store.Reader) (err error) {
		routes, err = r.Routes(reader)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.Prepare(id, m, routes)
}

// put makes a delivery with one waiter and returns its ticket and the challenge that waits.
func (r *rig) put(route string) (delivery.Ticket, uuid.UUID) {
	r.t.Helper()
	id, challenge := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	p, err := r.prepare(id, delivery.Message{
		Channel: r.channel, Route: route, Recipient: "alice@example.com", Subject: "Your OTP", Body: "482913", Code: "482913", Serial: "PIEM00000001",
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

// Dispatch is the service's, and waits until the queue has the jobs or has refused them: what a test
// does next, such as to bring the queue back, to replace it or to read the log, would race with the
// goroutine that hands them over.
func (r *rig) Dispatch(ctx context.Context, tickets ...delivery.Ticket) []delivery.Outcome {
	defer r.HandedOver()
	return r.Service.Dispatch(ctx, tickets...)
}

// work plays a worker that claims the delivery.
func (r *rig) work(worker uuid.UUID, ticket delivery.Ticket, claim queue.Claimed) queue.Result {
	claim.ID, claim.Kind, claim.Worker = ticket.ID, delivery.Kind, worker
	return r.Handle(r.t.Context(), claim, func() bool { return true })
}

func (r *rig) record(ticket delivery.Ticket) delivery.Record {
	r.t.Helper()
	s, err := r.Record(r.t.Context(), ticket.ID, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) wantState(ticket delivery.Ticket, want delivery.State) {
	r.t.Helper()
	if got := r.record(ticket); got.State != want {
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
