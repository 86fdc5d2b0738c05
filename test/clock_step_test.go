package test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/queue/sqliteq"
	"otpost/internal/secret/secrettest"
	"otpost/internal/smtp"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
	"otpost/internal/worker"
	"otpost/test/e2e"
)

// slowReplies is a mail server that accepts each message and delays its replies.
type slowReplies struct {
	reply chan struct{}

	mu   sync.Mutex
	dots map[string]int // by message
}

// Send implements delivery.Sender.
func (s *slowReplies) Send(ctx context.Context, _ mail.Server, m mail.Message) mail.Result {
	for _, w := range []smtp.Write{{ID: m.ID}, {ID: m.ID, Dot: true}} {
		if err := m.Journal.BeforeWrite(ctx, w); err != nil {
			return mail.Result{Class: mail.Unwanted, Err: err}
		}
	}
	if err := m.MayWrite(); err != nil {
		return mail.Result{Class: mail.Late, Phase: smtp.PhaseData}
	}
	s.mu.Lock()
	s.dots[m.ID]++
	s.mu.Unlock()
	<-s.reply
	return mail.Result{Class: mail.Accepted, Phase: smtp.PhaseReply, Code: 250, DotWritten: true}
}

// Server implements delivery.Servers.
func (s *slowReplies) Server(_ context.Context, identifier string) (mail.Server, error) {
	return mail.Server{
		Identifier: identifier,
		Server:     "mail.example",
		Sender:     "pi@example.org",
		Timeout:    10 * time.Second,
		EnqueueJob: true,
	}, nil
}

// Routes implements delivery.Servers.
func (s *slowReplies) Routes(store.Reader) (map[string]mail.Route, error) {
	return map[string]mail.Route{"queued": {EnqueueJob: true, SenderDomain: "example.org"}}, nil
}

// count returns how many messages were sent, and how many dots were written for them.
func (s *slowReplies) count() (messages, dots int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.dots {
		dots += n
	}
	return len(s.dots), dots
}

// sweeping counts the sweeps of a driver.
type sweeping struct {
	queue.Driver
	n atomic.Int64
}

// Sweep implements queue.Driver.
func (s *sweeping) Sweep(ctx context.Context) (int, error) {
	defer s.n.Add(1)
	return s.Driver.Sweep(ctx)
}

// The clock is set while replies to dots are awaited. Two workers, each with a database handle,
// represent two processes.
func TestStepOfTheClockSendsNoMailTwice(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{15 * time.Second, time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			var stepped atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(stepped.Load())) }
			server := &slowReplies{reply: make(chan struct{}), dots: make(map[string]int)}
			keys := secrettest.Keys(t)
			path := filepath.Join(t.TempDir(), "otpost.db")
			graceful, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 2)
			var drivers []*sweeping
			var services []*delivery.Service
			for range 2 {
				db := storetest.OpenAt(t, path, now)
				d, err := sqliteq.Open(db, sqliteq.Options{Queue: "test", LockDir: filepath.Dir(path)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { d.Close() })
				s := delivery.New(delivery.Options{DB: db, Keys: keys,
					Channels: delivery.Channels{delivery.Mail: delivery.NewMail(server, server)}, Driver: d})
				drivers, services = append(drivers, &sweeping{Driver: d}), append(services, s)
				run := func(ctx context.Context, c queue.Claimed) queue.Result {
					return s.Handle(ctx, c, func() bool { return worker.MayStart(ctx) })
				}
				w := worker.New(worker.Options{
					Driver: drivers[len(drivers)-1], Now: db.Now, Handlers: 16,
					Kinds: []worker.Kind{{Name: delivery.Kind, Run: run}},
				})
				go func() { ended <- w.Run(graceful, context.Background()) }()
			}
			const n = 20
			var routes delivery.Routes
			err := services[0].DB.Read(t.Context(), func(reader store.Reader) (err error) {
				routes, err = services[0].Routes(reader)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			ids := make([]uuid.UUID, n)
			for i := range ids {
				ids[i] = uuid.Must(uuid.NewV7())
				p, err := services[0].Prepare(ids[i], delivery.Message{
					Route:     "queued",
					Recipient: "alice@example.org",
					Subject:   "s",
					Body:      "482913",
					Code:      "482913",
					NotAfter:  now().Add(2 * time.Minute),
				}, routes)
				if err != nil {
					t.Fatal(err)
				}
				if err := services[0].DB.Write(t.Context(), func(tx *store.Tx) error {
					services[0].Put(tx, p)
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			e2e.Eventually(t, "dots", func() bool { _, dots := server.count(); return dots == n })
			stepped.Store(int64(step))
			before := []int64{drivers[0].n.Load(), drivers[1].n.Load()}
			e2e.Eventually(t, "sweeps after the step", func() bool {
				return drivers[0].n.Load() > before[0]+5 && drivers[1].n.Load() > before[1]+5 // and beats between them
			})
			close(server.reply)
			stop()
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if messages, dots := server.count(); messages != n || dots != n {
				t.Errorf("%d messages, %d dots", messages, dots)
			}
			for _, id := range ids {
				if r, err := services[0].Record(t.Context(), id, nil); err != nil || r.State != delivery.Accepted {
					t.Errorf("state %s, %v", r.State, err)
				}
			}
		})
	}
}
