package login_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/login"
	"otpost/internal/pinhash"
	"otpost/internal/queue"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/token"
)

// tally counts what n requests at once were answered with, by decision and message.
func (r *rig) tally(n int, q login.Request, services ...*login.Service) map[string]int {
	r.t.Helper()
	if len(services) == 0 {
		services = []*login.Service{r.Service}
	}
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			result, err := services[i%len(services)].Check(context.Background(), q)
			if err != nil {
				r.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[string(result.Authentication)+" "+result.Message]++
		})
	}
	all.Wait()
	return got
}

func TestTwentyParallelWrongAnswersCountAsTwenty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.maxFail(serial, 100)
	transaction, code := r.challenge()
	r.tally(20, login.Request{User: "alice", Pass: wrong(code), TransactionID: transaction})
	r.wantCounters(serial, counters{Fail: 20})
	r.tally(20, login.Request{User: "alice", Pass: "wrong"})
	r.wantCounters(serial, counters{Fail: 40, Auth: 20})
}

func TestParallelWrongAnswersStopAtTheLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	transaction, code := r.challenge()
	got := r.tally(20, login.Request{User: "alice", Pass: wrong(code), TransactionID: transaction})
	if got["REJECT Response did not match the challenge."] != 10 || got["REJECT Failcounter exceeded"] != 10 {
		t.Errorf("answers: %v", got)
	}
	r.wantCounters(serial, counters{Fail: 10})
}

func TestOneCodeAnsweredByEightClientsIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, code := r.challenge()
	got := r.tally(8, login.Request{User: "alice", Pass: alicePIN + code})
	if got["ACCEPT matching 1 tokens"] != 1 || got["REJECT wrong otp value. previous otp used again"] != 7 {
		t.Errorf("answers: %v", got)
	}
	r.wantCounters(serial, counters{Fail: 7, Auth: 8, Success: 1})
}

func TestOneTransactionAnsweredByEightClientsIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	transaction, code := r.challenge()
	got := r.tally(8, login.Request{User: "alice", Pass: code, TransactionID: transaction})
	if got["ACCEPT Found matching challenge"] != 1 || got["REJECT wrong otp pin"] != 7 {
		t.Errorf("answers: %v", got)
	}
	r.wantCounters(serial, counters{Fail: 7, Auth: 8, Success: 1})
}

// Two processes do not share their turns: there the compare-and-set in the transaction decides alone.
func TestOneCodeIsAcceptedOnceByTwoProcesses(t *testing.T) {
	t.Parallel()
	for range 5 {
		r := newRig(t)
		other := *r.tokens
		second := token.New(other.Options)
		two := login.New(login.Options{DB: r.db, Users: r.users, Tokens: second, Deliveries: r.deliveries})
		transaction, code := r.challenge()
		got := r.tally(4, login.Request{User: "alice", Pass: code, TransactionID: transaction}, r.Service, two)
		if got["ACCEPT Found matching challenge"] != 1 {
			t.Errorf("answers to a transaction: %v", got)
		}
		_, code = r.challenge()
		got = r.tally(4, login.Request{User: "alice", Pass: alicePIN + code}, r.Service, two)
		if got["ACCEPT matching 1 tokens"] != 1 {
			t.Errorf("PIN and code: %v", got)
		}
		if n := r.counters(serial); n.Success != 2 || n.Fail < 0 || n.Fail > 6 {
			t.Errorf("counters: %+v", n)
		}
	}
}

func TestParallelRightLoginsNeverMeetTheLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailIdentifier, "queued")
	r.maxFail(serial, 1)
	got := r.tally(8, login.Request{User: "alice", Pass: alicePIN})
	if got["CHALLENGE "+prompt] != 8 {
		t.Errorf("answers: %v", got)
	}
	r.wantCounters(serial, counters{})
	if n := r.open(serial); n != 1 {
		t.Errorf("%d challenges are open, want the newest alone", n)
	}
}

func TestDisablingBesideALoginLeavesNoChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailIdentifier, "queued")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := r.Check(context.Background(), login.Request{User: "alice", Pass: alicePIN}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		if _, err := r.tokens.Disable(context.Background(), token.Selection{Serial: serial}); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	if n := r.open(serial); n != 0 {
		t.Errorf("%d challenges of a disabled token are open", n)
	}
	if got := r.states(); got[delivery.Queued] != 0 {
		t.Errorf("mails of a disabled token wait: %v", got)
	}
}

func TestSupersededAndAnsweredMailIsNotSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailIdentifier, "queued")
	r.pass(alicePIN)
	last := r.pass(alicePIN)
	if got := r.states(); got[delivery.Dropped] != 1 || got[delivery.Queued] != 1 {
		t.Fatalf("after the second challenge: %v", got)
	}
	r.post.lose = true // the mail arrives, the reply to it does not: it waits for its second try
	r.handle()
	if got := r.states(); got[delivery.Deferred] != 1 {
		t.Fatalf("after a try without reply: %v", got)
	}
	r.want(r.answer(last.TransactionID, r.code()), acceptedAnswer(serial))
	if got := r.states(); got[delivery.Unknown] != 1 || got[delivery.Deferred] != 0 {
		t.Errorf("after the answer: %v", got)
	}
}

// handle lets a worker try every message that waits.
func (r *rig) handle() {
	r.t.Helper()
	var claims []queue.Claimed
	err := r.db.Read(r.t.Context(), func(reader store.Reader) error {
		return reader.Query(func(scan store.Scan) error {
			var c queue.Claimed
			c.Kind = delivery.Kind
			err := scan(&c.ID)
			claims = append(claims, c)
			return err
		}, `SELECT id FROM delivery WHERE state IN ('queued', 'deferred')`)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range claims {
		r.deliveries.Handle(r.t.Context(), c, func() bool { return true })
	}
}

func TestClientThatHangsUpHasPaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.people.by["bob"]
	pin := token.Text("pinb")
	if _, err := r.tokens.Init(t.Context(), token.Enrolment{Type: "email", Serial: "EMDYN", DynamicEmail: true, PIN: &pin, Owner: &u}); err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	r.people.fail = errors.New("never mind")
	r.people.hangUp = hangUp
	if _, err := r.Check(ctx, login.Request{User: "bob", Pass: pin}); err == nil {
		t.Fatal("no error")
	}
	r.wantCounters("EMDYN", counters{Fail: 1})
}

func TestNoHashingSlotCountsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	slots := pinhash.NewSlots(1, nil)
	release, err := slots.Acquire(t.Context(), "somebody")
	if err != nil {
		t.Fatal(err)
	}
	defer release(false)
	o := r.tokens.Options
	o.PINs = pinhash.New(pinhash.Options{Slots: slots})
	s := login.New(login.Options{DB: r.db, Users: r.users, Tokens: token.New(o), Deliveries: r.deliveries})
	_, err = s.Check(t.Context(), login.Request{User: "alice", Pass: alicePIN})
	if fault.CodeOf(err) != fault.Busy {
		t.Errorf("error %v, want %d", err, fault.Busy)
	}
	r.wantCounters(serial, counters{})
}

func TestAcceptanceIsRecordedWithItsTransaction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	transaction, code := r.challenge()
	got := r.check(login.Request{User: "alice", Pass: code, TransactionID: transaction, Client: "192.0.2.7", Action: "POST /validate/check"})
	if !got.Recorded {
		t.Error("the result does not say that the journal has its row")
	}
	var rows int
	err := r.db.Read(t.Context(), func(reader store.Reader) error {
		return reader.Get([]any{&rows}, `SELECT count(*) FROM audit WHERE authentication = 'ACCEPT' AND success = 1 AND login = 'alice'
			AND realm = 'realm1' AND resolver = 'pw' AND serial = $1 AND token_type = 'email' AND transaction_id = $2
			AND client = '192.0.2.7' AND action = 'POST /validate/check' AND delivery_id IS NOT NULL`, serial, transaction)
	})
	if err != nil || rows != 1 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// A marked PIN, address and long codes go down the whole way; neither log nor database holds them.
func TestNoSecretInLogOrDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pin, n := token.Text("marked-pin-4711"), 10
	u := r.people.by["bob"]
	if _, err := r.tokens.Init(t.Context(), token.Enrolment{Type: "email", Serial: "EMMARK", Email: "marked-address@example.com", PIN: &pin, Owner: &u, OTPLen: n}); err != nil {
		t.Fatal(err)
	}
	marks := []string{pin.Reveal(), "marked-address@example.com"}
	for _, route := range []string{"queued", "dead", "inline"} {
		r.set(system.EmailIdentifier, route)
		r.check(login.Request{User: "bob", Pass: pin})
		r.handle()
		marks = append(marks, r.code().Reveal())
	}
	code := r.code()
	for _, pass := range []token.Text{pin + wrong(code), pin + code, pin + code, "marked-guess-4711"} {
		r.check(login.Request{User: "bob", Pass: pass})
	}
	marks = append(marks, "marked-guess-4711")
	text := r.log.String()
	for _, name := range []string{r.path, r.path + "-wal"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text += string(content)
	}
	for i, mark := range marks {
		if strings.Contains(text, mark) {
			t.Errorf("secret %d is in the log or in the database", i)
		}
	}
}

func TestCodeDiesWithItsTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailValidTime, "1")
	transaction, code := r.challenge()
	r.clock.Advance(999 * time.Millisecond)
	got := r.answer(transaction, code)
	if got.Authentication != login.Accept {
		t.Errorf("a millisecond before its end: %+v", got)
	}
	transaction, code = r.challenge()
	r.clock.Advance(time.Second)
	r.want(r.answer(transaction, code), refusedAnswer())
}
