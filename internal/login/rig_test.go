package login_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/login"
	"otpost/internal/mail"
	"otpost/internal/pinhash"
	"otpost/internal/queue"
	"otpost/internal/secret/secrettest"
	"otpost/internal/smtp"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
	"otpost/internal/system"
	"otpost/internal/token"
	"otpost/internal/user"
)

// people is a user store, the resolver "pw" of the realm "realm1".
type people struct {
	user.Resolver
	by     map[string]user.User // by login
	fail   error                // what a question for a uid is answered with
	hangUp func()               // is called by a question for a uid; nil: nothing
}

// directory returns a directory with that realm.
func (p *people) directory(t testing.TB, db *store.DB) *user.Directory {
	t.Helper()
	d := user.New(db, user.Options{Types: map[string]user.Type{
		"fake": func(string, map[string]string) (user.Resolver, error) { return p, nil },
	}})
	if _, err := d.SaveResolver(t.Context(), user.Definition{Name: "pw", Type: "fake"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.SaveRealm(t.Context(), "realm1", []user.Member{{Name: "pw"}}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (p *people) Find(_ context.Context, name string) (user.User, error) {
	if u, ok := p.by[name]; ok {
		return u, nil
	}
	return user.User{}, user.ErrNotFound
}

func (p *people) ByUID(_ context.Context, uid string) (user.User, error) {
	if p.hangUp != nil {
		p.hangUp()
	}
	for _, u := range p.by {
		if u.UID == uid {
			return u, p.fail
		}
	}
	return user.User{}, user.ErrNotFound
}

// post is the mail servers "inline" and "queued", which take every message, and "dead", which takes none.
type post struct {
	mu    sync.Mutex
	mails []mail.Message
	lose  bool // no reply to the dot
}

func (p *post) Server(_ context.Context, identifier string) (mail.Server, error) {
	s := mail.Server{Identifier: identifier, Server: identifier, Sender: "pi@example.com", Timeout: time.Second, EnqueueJob: identifier == "queued"}
	if identifier != "inline" && identifier != "queued" && identifier != "dead" {
		return s, store.ErrNotFound
	}
	return s, nil
}

// Routes implements delivery.Servers.
func (p *post) Routes(store.Reader) (map[string]mail.Route, error) {
	all := map[string]mail.Route{}
	for _, name := range []string{"inline", "queued", "dead"} {
		all[name] = mail.Route{EnqueueJob: name == "queued", SenderDomain: "example.com"}
	}
	return all, nil
}

func (p *post) Send(ctx context.Context, s mail.Server, m mail.Message) mail.Result {
	if s.Server == "dead" {
		return mail.Result{Class: mail.Unreachable, Phase: smtp.PhaseConnect}
	}
	if err := m.Journal.BeforeWrite(ctx, smtp.Write{ID: m.ID, Dot: true}); err != nil {
		return mail.Result{Class: mail.Unwanted, Err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, m)
	if p.lose {
		return mail.Result{Class: mail.Unknown, Phase: smtp.PhaseReply, DotWritten: true}
	}
	return mail.Result{Class: mail.Accepted, Phase: smtp.PhaseReply, Code: 250, DotWritten: true}
}

// noDriver stands for a queue outside the database: its jobs are done when a test says so.
type noDriver struct{ queue.Driver }

func (noDriver) Enqueue(context.Context, ...queue.Job) error { return nil }

type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// rig is the whole of a login on a real database.
type rig struct {
	*login.Service
	t          testing.TB
	path       string // of the database
	db         *store.DB
	work       *storetest.Work
	clock      *storetest.Clock
	tokens     *token.Service
	settings   *system.Settings
	deliveries *delivery.Service
	people     *people
	users      *user.Directory
	computed   *computed
	post       *post
	log        *buffer
}

const (
	alicePIN = "pin1"
	serial   = "PIEM00007CCB"
)

// newRig has alice with the token PIEM00007CCB (PIN pin1) and the mail server "inline".
func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, clock: storetest.NewClock(), post: &post{}, log: &buffer{}, computed: &computed{}}
	r.path = filepath.Join(t.TempDir(), "otpost.db")
	db, work := storetest.OpenCounted(t, r.path, r.clock.Now)
	keys := secrettest.Keys(t)
	log := slog.New(slog.NewTextHandler(r.log, nil))
	r.db, r.work, r.settings = db, work, system.New(db, keys)
	r.people = &people{by: map[string]user.User{}}
	for uid, name := range map[string]string{"1000": "alice", "1001": "bob", "1002": "multi", "1003": "notoken", "1004": "nomail"} {
		u := user.User{Login: name, Realm: "realm1", Resolver: "pw", UID: uid, Email: name + "@example.com"}
		if name == "nomail" {
			u.Email = ""
		}
		r.people.by[name] = u
	}
	r.users = r.people.directory(t, db)
	r.deliveries = delivery.New(delivery.Options{
		DB: db, Keys: keys, Channels: delivery.Channels{delivery.Mail: delivery.NewMail(r.post, r.post)}, Driver: noDriver{}, Log: log,
		OnOutcome: func(tx *store.Tx, o delivery.Outcome) error { return login.FollowOutcome(tx, db.Now(), o) },
	})
	r.tokens = token.New(token.Options{
		DB:         db,
		Keys:       keys,
		Settings:   r.settings,
		Users:      r.users,
		Deliveries: r.deliveries,
		PINs: pinhash.New(pinhash.Options{Params: pinhash.Params{Scheme: pinhash.PBKDF2SHA512, Rounds: 1},
			Wait: time.Minute}),
		Types:        map[string]token.Type{"computed": r.computed, "constant": constant{}},
		Turn:         time.Minute, // a busy machine refuses no guess
		ValidAddress: func(address string) error { _, err := mail.ParseAddress(address); return err },
	})
	r.Service = login.New(login.Options{DB: db, Users: r.users, Tokens: r.tokens, Deliveries: r.deliveries, Log: log})
	r.set(system.EmailIdentifier, "inline")
	r.enrol(serial, "alice", alicePIN)
	return r
}

func (r *rig) set(key, value string) {
	r.t.Helper()
	if _, err := r.settings.Set(r.t.Context(), system.Setting{Key: key, Value: value}); err != nil {
		r.t.Fatal(err)
	}
}

// enrol makes a token; name may be empty.
func (r *rig) enrol(serial, name string, pin token.Text) {
	r.t.Helper()
	e := token.Enrolment{Type: token.TypeEmail, Serial: serial, Email: serial + "@example.com", PIN: &pin}
	if u, ok := r.people.by[name]; ok {
		e.Owner = &u
	}
	if _, err := r.tokens.Init(r.t.Context(), e); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) maxFail(serial string, n int) {
	r.t.Helper()
	if _, err := r.tokens.Set(r.t.Context(), token.Selection{Serial: serial}, token.Changes{MaxFailCount: &n}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) check(q login.Request) login.Result {
	r.t.Helper()
	result, err := r.Check(r.t.Context(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// pass checks a pass of alice.
func (r *rig) pass(pass token.Text) login.Result {
	r.t.Helper()
	return r.check(login.Request{User: "alice", Pass: pass})
}

// answer checks a code of alice for a transaction.
func (r *rig) answer(transaction string, code token.Text) login.Result {
	r.t.Helper()
	return r.check(login.Request{User: "alice", Pass: code, TransactionID: transaction})
}

// challenge logs alice in with her PIN and returns the transaction and the code of the mail.
func (r *rig) challenge() (transaction string, code token.Text) {
	r.t.Helper()
	result := r.pass(alicePIN)
	if result.Authentication != login.Challenge {
		r.t.Fatalf("the PIN was answered with %+v", result)
	}
	return result.TransactionID, r.code()
}

// code returns the code of the last mail.
func (r *rig) code() token.Text {
	r.t.Helper()
	r.post.mu.Lock()
	defer r.post.mu.Unlock()
	if len(r.post.mails) == 0 {
		r.t.Fatal("no mail was sent")
	}
	return token.Text(r.post.mails[len(r.post.mails)-1].Body)
}

func (r *rig) mails() int {
	r.post.mu.Lock()
	defer r.post.mu.Unlock()
	return len(r.post.mails)
}

// wrong returns another code of the same length.
func wrong(code token.Text) token.Text {
	last := (code[len(code)-1]-'0'+1)%10 + '0'
	return code[:len(code)-1] + token.Text(last)
}

// counters are what a decision changes in a token.
type counters struct{ Fail, Auth, Success int }

func (r *rig) counters(serial string) counters {
	r.t.Helper()
	t := r.token(serial)
	return counters{t.FailCount, t.CountAuth, t.CountAuthSuccess}
}

func (r *rig) token(serial string) token.Token {
	r.t.Helper()
	t, err := r.tokens.BySerial(r.t.Context(), serial)
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

func (r *rig) wantCounters(serial string, want counters) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.counters(serial)); diff != "" {
		r.t.Errorf("%s: counters (-want +got):\n%s", serial, diff)
	}
}

// want compares what an answer shows; user and journal fields are looked at where they matter.
func (r *rig) want(got, want login.Result) {
	r.t.Helper()
	got.User, got.Judged, got.Recorded, got.Counted = user.User{}, nil, want.Recorded, want.Counted
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("result (-want +got):\n%s", diff)
	}
}

// open returns how many challenges of a token can be answered.
func (r *rig) open(serial string) int {
	r.t.Helper()
	p, err := challenge.List(r.t.Context(), r.db, challenge.Filter{Serial: serial})
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Count
}

// states returns how many deliveries are in each state.
func (r *rig) states() map[delivery.State]int {
	r.t.Helper()
	states := map[delivery.State]int{}
	err := r.db.Read(r.t.Context(), func(reader store.Reader) error {
		return reader.Query(func(scan store.Scan) error {
			var s delivery.State
			err := scan(&s)
			states[s]++
			return err
		}, `SELECT state FROM delivery`)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return states
}

func rejected(message string) login.Result {
	return login.Result{Authentication: login.Reject, Message: message}
}
