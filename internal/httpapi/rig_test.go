package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"otpost/internal/access"
	"otpost/internal/audit"
	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/login"
	"otpost/internal/mail"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/secret/secrettest"
	"otpost/internal/store"
	"otpost/internal/store/storetest"
	"otpost/internal/system"
	"otpost/internal/token"
)

// fakeLogin answers what the test wants and keeps the last request.
type fakeLogin struct {
	mu     sync.Mutex
	asked  login.Request
	result login.Result
	err    error
	do     func()
	hang   chan struct{} // closed when a request has come, which is then answered when its client is gone
}

func (f *fakeLogin) Check(ctx context.Context, r login.Request) (login.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = r
	if f.do != nil {
		f.do()
	}
	if f.hang != nil {
		close(f.hang)
		<-ctx.Done()
		return f.result, fmt.Errorf("check: %w", ctx.Err())
	}
	return f.result, f.err
}

func (f *fakeLogin) Trigger(ctx context.Context, r login.Request) (login.Result, error) {
	return f.Check(ctx, r)
}

// plainPasswords is a hash that costs nothing and hides nothing.
type plainPasswords struct{}

func (plainPasswords) Hash(_ context.Context, _, plain string) (string, error) {
	return "hash of " + plain, nil
}

func (plainPasswords) Verify(_ context.Context, _, hash, plain string) (bool, error) {
	return hash == "hash of "+plain, nil
}

func (plainPasswords) Dummy(context.Context, string, string, string) error { return nil }

// logBuffer is a log that many goroutines may write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// unreachable is a sender that reaches no mail server.
func unreachable() *mail.Sender {
	return mail.NewSender(mail.SenderOptions{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }})
}

// rig is the API over a database in a temporary file, with a stand-in for login.
type rig struct {
	t        *testing.T
	db       *store.DB
	work     *storetest.Work
	keys     *secret.Keys
	login    *fakeLogin
	log      *logBuffer
	server   *httptest.Server
	settings *system.Settings
	sessions *access.Sessions
	servers  *mail.Servers
	delivery *delivery.Service
	admin    string // a session of the administrator "admin", password "adminpw"
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, func(*Deps, *Options) {})
}

// newRigWith is newRig with other services or options.
func newRigWith(t *testing.T, change func(*Deps, *Options)) *rig {
	t.Helper()
	ctx := context.Background()
	db, work := storetest.OpenCounted(t, filepath.Join(t.TempDir(), "otpost.db"), nil)
	keys := secrettest.Keys(t)
	r := &rig{t: t, db: db, work: work, keys: keys, login: &fakeLogin{}, log: &logBuffer{}, settings: system.New(db, keys), servers: mail.NewServers(db, keys, nil)}
	r.delivery = delivery.New(delivery.Options{DB: db, Keys: keys, Channels: delivery.Channels{delivery.Mail: delivery.NewMail(r.servers, unreachable())}})
	r.sessions = access.NewSessions(db, access.Options{Key: "0123456789abcdef0123456789abcdef", SuperuserRealms: []string{"admins"}})
	administrators := access.NewAdministrators(db, plainPasswords{})
	if err := administrators.Add(ctx, "admin", "", "adminpw"); err != nil {
		t.Fatal(err)
	}
	users := usersOf(t, db)
	tokens := token.New(token.Options{
		DB:         db,
		Keys:       keys,
		Settings:   r.settings,
		Users:      users,
		Deliveries: r.delivery,
		PINs: pinhash.New(pinhash.Options{Params: pinhash.Params{Scheme: pinhash.PBKDF2SHA512, Rounds: 1},
			Wait: time.Minute}),
		Turn:         time.Minute, // a busy machine refuses no guess
		ValidAddress: func(address string) error { _, err := mail.ParseAddress(address); return err },
	})
	deps := Deps{
		Login: r.login, Tokens: tokens, Servers: r.servers,
		Delivery: r.delivery, Settings: r.settings, Administrators: administrators, Sessions: r.sessions, Guard: access.NewGuard(db),
		Journal: audit.New(db), Users: users,
		Unanswered: func(ctx context.Context, transaction string) ([]challenge.Challenge, error) {
			return challenge.Unanswered(ctx, db, transaction)
		},
		Challenges: func(ctx context.Context, f challenge.Filter) (challenge.Page, error) {
			return challenge.List(ctx, db, f)
		},
	}
	options := Options{Version: "9.9", Node: "testnode", NodeID: "0011", Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	change(&deps, &options)
	r.server = httptest.NewServer(New(deps, options))
	t.Cleanup(r.server.Close)
	mark, err := administrators.Mark(t.Context(), "admin")
	if err != nil {
		t.Fatal(err)
	}
	r.admin = r.session(access.Identity{Name: "admin", Role: access.Admin, Mark: mark})
	return r
}

func (r *rig) session(id access.Identity) string {
	r.t.Helper()
	session, _, err := r.sessions.Issue(id, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return session
}

// makeRealm makes a resolver with alice and bob, and a realm with it alone.
func (r *rig) makeRealm(resolver, realm string) {
	r.t.Helper()
	r.do("POST", "/resolver/"+resolver, r.admin, object{"type": "passwdresolver", "fileName": "users.passwd"})
	if g := r.do("POST", "/realm/"+realm, r.admin, object{"resolvers": resolver}); g.status != http.StatusOK {
		r.t.Fatalf("realm: %s", g.raw)
	}
}

// signIn returns a session of a user of makeRealm.
func (r *rig) signIn(login, realm string) string {
	r.t.Helper()
	g := r.do("POST", "/auth", "", url.Values{"username": {login}, "realm": {realm}, "password": {"userpw"}})
	value, _ := g.value().(map[string]any)
	session, _ := value["token"].(string)
	if session == "" {
		r.t.Fatalf("sign in: %s", g.raw)
	}
	return session
}

// got is an answer.
type got struct {
	status int
	header http.Header
	raw    string
	json   map[string]any // nil when the body is no JSON object
}

// value returns result.value.
func (g got) value() any { return g.result()["value"] }

func (g got) result() map[string]any {
	result, _ := g.json["result"].(map[string]any)
	return result
}

func (g got) detail() map[string]any {
	detail, _ := g.json["detail"].(map[string]any)
	return detail
}

// problem returns the error's number and sentence.
func (g got) problem() (code float64, message string) {
	e, _ := g.result()["error"].(map[string]any)
	code, _ = e["code"].(float64)
	message, _ = e["message"].(string)
	return code, message
}

// do sends a request. body is a form (url.Values), JSON (object), a text, or nil; session may be empty.
func (r *rig) do(method, path, session string, body any) got {
	r.t.Helper()
	var content io.Reader
	kind := ""
	switch body := body.(type) {
	case url.Values:
		content, kind = strings.NewReader(body.Encode()), formType
	case object:
		encoded, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		content, kind = bytes.NewReader(encoded), jsonType
	case string:
		content, kind = strings.NewReader(body), jsonType
	}
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, content)
	if err != nil {
		r.t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if session != "" {
		request.Header.Set("Authorization", session)
	}
	return r.send(request)
}

func (r *rig) send(request *http.Request) got {
	r.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	g := got{status: response.StatusCode, header: response.Header, raw: string(raw)}
	json.Unmarshal(raw, &g.json) //nolint:errcheck // nil when it is none
	return g
}

// count returns how many rows of the journal meet a condition.
func (r *rig) count(where string, args ...any) (n int) {
	r.t.Helper()
	err := r.db.Read(r.t.Context(), func(reader store.Reader) error {
		return reader.Get([]any{&n}, `SELECT count(*) FROM audit WHERE `+where, args...)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) want(g got, status int, code float64, message string) {
	r.t.Helper()
	gotCode, gotMessage := g.problem()
	if g.status != status || gotCode != code || !strings.Contains(gotMessage, message) {
		r.t.Errorf("answer = %d, %v, %q, want %d, %v, %q", g.status, gotCode, gotMessage, status, code, message)
	}
}
