package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/delivery"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/smtp"
	"otpost/internal/store/storetest"
)

func TestStoryIsDiagnosedByItsLastAttempt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	refused := delivery.Attempt{Number: 1, Ended: &now, Diagnosis: "refused"}
	well := delivery.Attempt{Number: 2, Ended: &now}
	for name, c := range map[string]struct {
		state    delivery.State
		attempts []delivery.Attempt
		want     delivery.Diagnosis
	}{
		"accepted":                   {delivery.Accepted, []delivery.Attempt{well}, ""},
		"accepted at last":           {delivery.Accepted, []delivery.Attempt{refused, well}, ""},
		"accepted, but unsigned":     {delivery.Accepted, []delivery.Attempt{{Number: 1, Ended: &now, Diagnosis: "smime"}}, "smime"},
		"failed":                     {delivery.Failed, []delivery.Attempt{well, refused}, "refused"},
		"deferred":                   {delivery.Deferred, []delivery.Attempt{refused}, "refused"},
		"failed without a try":       {delivery.Failed, nil, delivery.DiagnosisInternal},
		"cancelled":                  {delivery.Dropped, nil, ""},
		"no worker began it":         {delivery.Queued, nil, delivery.DiagnosisTooLate},
		"no worker began it in time": {delivery.Expired, nil, delivery.DiagnosisTooLate},
		"the reply is awaited":       {delivery.Sending, []delivery.Attempt{{Number: 1}}, delivery.DiagnosisTimeout},
		"the end after a refusal":    {delivery.Expired, []delivery.Attempt{refused}, "refused"},
	} {
		if got := (delivery.Record{State: c.state, Attempts: c.attempts}).Diagnosis(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What a server said in each phase is kept with the outcome, of a message that will be tried again too.
func TestDiagnosisAndPhasesAreKeptWithTheOutcome(t *testing.T) {
	t.Parallel()
	phases := []mail.Phase{
		{Phase: smtp.PhaseConnect, MS: 1.5, Code: 220, Text: "hello"},
		{Phase: smtp.PhaseTLS, MS: 2, Text: "expired", TLS: &smtp.TLSReport{Version: "TLS 1.3", Chain: []smtp.CertificateReport{{
			Subject: "CN=mx", Issuer: "CN=root", Names: []string{"mx.example"}, NotBefore: "2026-11-24T12:00:00.000Z", NotAfter: "2026-11-25T12:00:00.000Z",
		}}}},
	}
	r := newRig(t, attempt{before: delivery.ClassUnreachable, text: "expired", phases: phases, diagnosis: mail.CertificateExpired})
	ticket, _ := r.put("queued")
	r.work(workerA, ticket, queue.Claimed{})
	r.wantState(ticket, delivery.Deferred)
	a := r.record(ticket).Attempts
	if len(a) != 1 || a[0].Diagnosis != "certificate_expired" {
		t.Fatalf("attempts %+v", a)
	}
	want, err := json.Marshal(phases)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(a[0].Phases)
	if diff := cmp.Diff(string(want), string(got)); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestDotThatCameTooLateIsDiagnosed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.server.script = []attempt{{early: func() { r.clock.Advance(life) }}}
	r.work(workerA, ticket, queue.Claimed{})
	if a := r.record(ticket).Attempts; len(a) != 1 || a[0].Diagnosis != delivery.DiagnosisTooLate || a[0].Phases == nil {
		t.Fatalf("attempts %+v", a)
	}
}

func TestAttemptOfALostOwnerIsDiagnosed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ticket, _ := r.put("queued")
	r.crash(ticket, workerA)
	r.work(workerB, ticket, queue.Claimed{SweptOwner: workerA})
	if a := r.record(ticket).Attempts; len(a) != 1 || a[0].Class != "unknown" || a[0].Diagnosis != delivery.DiagnosisInternal {
		t.Fatalf("attempts %+v", a)
	}
}

// A test of unsaved values says nothing of the saved server, and is no mail in the figures.
func TestTestOfUnsavedValuesDoesNotCountForTheSavedServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	saved, err := r.server.Server(t.Context(), "inline")
	if err != nil {
		t.Fatal(err)
	}
	begun := r.db.Now()
	test := func(server mail.Server) delivery.Record {
		t.Helper()
		r.server.script = []attempt{{before: delivery.ClassPermanent, code: 550, text: "no", diagnosis: mail.Rejected}}
		d, err := r.TestMail(t.Context(), server, "a@example.com", "s", "b")
		if err != nil || d.State != delivery.Failed {
			t.Fatalf("%+v, %v", d, err)
		}
		return d
	}
	otherPort, unsaved := saved, saved
	otherPort.Port++
	unsaved.Identifier = "new"
	for _, server := range []mail.Server{otherPort, unsaved} {
		if d := test(server); d.Server != "" || d.Attempts[0].Route != "" {
			t.Errorf("port %d, %q: the route is %q, %q", server.Port, server.Identifier, d.Server, d.Attempts[0].Route)
		}
	}
	failures, err := r.Failures(t.Context(), begun)
	if st := r.statistics(nil); err != nil || len(failures) != 0 || len(st.Servers) != 0 || len(st.Failures) != 0 ||
		st.Minutes[59].Failed != 0 {
		t.Errorf("%+v, %+v, %v", st, failures, err)
	}
	saved.Description = "another"
	if d := test(saved); d.Server != "inline" {
		t.Errorf("the saved values: the route is %q", d.Server)
	}
	if st := r.statistics(nil); st.Servers["inline"].Last == nil || len(st.Failures) != 1 {
		t.Errorf("the saved values: %+v", st)
	}
}

// workers is a queue outside the database. It takes each job three seconds after the message was made and tells which
// workers it knows.
type workers struct {
	noDriver
	clock *storetest.Clock
	known func() ([]queue.Seen, error)
}

// Enqueue implements queue.Driver.
func (w *workers) Enqueue(context.Context, ...queue.Job) error {
	w.clock.Advance(3 * time.Second)
	return nil
}

// Workers implements queue.Driver.
func (w *workers) Workers(context.Context) ([]queue.Seen, error) { return w.known() }

// A test mail that no worker can begin ends at once, and is not sent when a worker starts later.
func TestTestMailWithoutAWorkerIsWithdrawn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		known []queue.Seen
		err   error
		want  delivery.State
		why   delivery.Reason
	}{
		"no worker":             {nil, nil, delivery.Dropped, delivery.NoWorker},
		"a worker that is busy": {make([]queue.Seen, 1), nil, delivery.Queued, ""},
		"a queue out of reach":  {nil, errors.New("connection refused"), delivery.Queued, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			r.Driver = &workers{clock: r.clock, known: func() ([]queue.Seen, error) {
				if c.want == delivery.Queued {
					cancel() // the test has seen enough
				}
				return c.known, c.err
			}}
			server, err := r.server.Server(ctx, "queued")
			if err != nil {
				t.Fatal(err)
			}
			d, err := r.TestMail(ctx, server, "a@example.com", "s", "b")
			if err != nil || d.State != c.want || d.Reason != c.why {
				t.Fatalf("%s (%s), %v", d.State, d.Reason, err)
			}
			if c.want == delivery.Queued {
				return
			}
			if got := d.Diagnosis(); got != delivery.DiagnosisNoWorker {
				t.Errorf("diagnosis %q", got)
			}
			r.work(workerA, delivery.Ticket{ID: d.ID}, queue.Claimed{})
			if st := r.statistics(nil); len(r.server.sent) != 0 || len(st.Failures) != 0 {
				t.Errorf("%d mails, failures %+v", len(r.server.sent), st.Failures)
			}
		})
	}
}
