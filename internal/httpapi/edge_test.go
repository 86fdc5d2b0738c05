package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/fault"
	"otpost/internal/login"
)

func TestEnvelopeIsTheRecordedOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.do("GET", "/system/", r.admin, nil)
	if g.status != http.StatusOK || !strings.HasPrefix(g.raw, `{"id": 1, "jsonrpc": "2.0", "result": {"status": true, "value": {`) {
		t.Errorf("answer: %d %s", g.status, g.raw)
	}
	if g.json["version"] != "otpost 9.9" || g.json["versionnumber"] != "9.9" || g.header.Get("Cache-Control") != "no-store" {
		t.Errorf("version %v, number %v, cache %q", g.json["version"], g.json["versionnumber"], g.header.Get("Cache-Control"))
	}
	g = r.do("GET", "/system/", "", nil)
	want := `{"detail": null, "id": 1, "jsonrpc": "2.0", "result": {"error": {"code": 4033, "message": ` +
		`"Authentication failure. Missing Authorization header."}, "status": false}, "time": `
	if g.status != http.StatusUnauthorized || !strings.HasPrefix(g.raw, want) || g.json["versionnumber"] != nil {
		t.Errorf("answer: %d %s", g.status, g.raw)
	}
}

// The recorded answers of errors.json that need no resource.
func TestPathsAndMethodsAnswerAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, one := range []struct {
		method, path string
		status       int
		header, want string
	}{
		{"GET", "/nosuch", 404, "Content-Type", "application/json"},
		{"GET", "/token/nosuch/x", 404, "", ""},
		{"POST", "/auth/", 404, "", ""},
		{"DELETE", "/validate/check", 405, "Allow", "GET, HEAD, OPTIONS, POST"},
		{"PUT", "/auth", 405, "Allow", "OPTIONS, POST"},
		{"PUT", "/smtpserver/x", 405, "Allow", "DELETE, GET, HEAD, OPTIONS, POST"}, // GET is ours
		{"POST", "/validate/polltransaction", 405, "Allow", "GET, HEAD, OPTIONS"},
		{"GET", "/token?a=b", 308, "Location", "/token/?a=b"},
		{"GET", "/smtpserver", 308, "Location", "/smtpserver/"},
		{"GET", "/healthz", 308, "Location", "/healthz/"},
		{"OPTIONS", "/token/", 200, "Allow", "GET, HEAD, OPTIONS"},
		{"HEAD", "/system/", 200, "Content-Type", "application/json"},
	} {
		g := r.do(one.method, one.path, r.admin, nil)
		if g.status != one.status || one.header != "" && g.header.Get(one.header) != one.want {
			t.Errorf("%s %s = %d, %s %q, want %d, %q", one.method, one.path, g.status, one.header, g.header.Get(one.header), one.status, one.want)
		}
	}
	if g := r.do("GET", "/nosuch", "", nil); g.raw != "{\"error\":\"Not found\"}\n" {
		t.Errorf("body of 404: %q", g.raw)
	}
}

func TestRolesAnswerWithTheRecordedTexts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	alice := r.signIn("alice", "realm1")
	const role = "Authentication failure. You do not have the necessary role (['admin']) to access this resource!"
	for _, one := range []struct {
		method, path, session string
		code                  float64
		text                  string
		emptyDetail           bool
	}{
		{"GET", "/token/", "", 4033, "Missing Authorization header.", false},
		{"GET", "/token/", "garbage", 4304, "Not enough segments", false},
		{"GET", "/smtpserver/", alice, 4306, role, false},
		{"POST", "/system/setConfig", alice, 4306, role, true},
		{"POST", "/validate/triggerchallenge", "", 4033, "Missing Authorization header.", true},
		{"POST", "/validate/triggerchallenge", alice, 4306, role, true},
		{"GET", "/auth/rights", "", 4033, "Missing Authorization header.", true},
	} {
		g := r.do(one.method, one.path, one.session, nil)
		r.want(g, http.StatusUnauthorized, one.code, one.text)
		if (g.detail() != nil) != one.emptyDetail {
			t.Errorf("%s %s: detail = %v", one.method, one.path, g.json["detail"])
		}
	}
}

func TestSecondHeaderBeatsTheFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+"/auth/rights", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("authorization", "garbage")
	request.Header.Set("PI-Authorization", r.admin)
	if g := r.send(request); g.status != http.StatusOK {
		t.Errorf("answer: %d %s", g.status, g.raw)
	}
}

func TestEveryErrorNumberHasAStatusAndAnEnvelope(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for code, status := range statuses {
		r.login.err = fault.New(code, "key", "sentence ü")
		g := r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {"x"}})
		message := "sentence ü"
		if code == fault.Internal {
			message = fault.InternalMessage
		}
		r.want(g, status, float64(code), message)
		checkForClients(t, g)
	}
	r.login.err = errors.New("a cause with details")
	g := r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {"x"}})
	r.want(g, http.StatusInternalServerError, -500, fault.InternalMessage)
	if strings.Contains(g.raw, "details") {
		t.Errorf("the cause reached the client: %s", g.raw)
	}
}

// aware is a writer of the pages: it takes what each sentence is about.
type aware struct {
	*httptest.ResponseRecorder
	about []string
}

func (a *aware) About(field, key string, args []any) {
	a.about = append(a.about, fmt.Sprint(field, " ", key, " ", args))
}

// Field, key and arguments of a fault go to the pages in the process. A client gets the recorded envelope, to the byte.
func TestFieldAndKeyOfAFaultAreNotInTheEnvelope(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	r := newRigWith(t, func(_ *Deps, o *Options) { o.Now = func() time.Time { return clock } })
	api := r.server.Config.Handler
	ask := func(w http.ResponseWriter) {
		in := httptest.NewRequest(http.MethodPost, "/smtpserver/office", strings.NewReader("server=mail.example.org&port=70000"))
		in.Header.Set("Content-Type", formType)
		in.Header.Set("Authorization", r.admin)
		api.ServeHTTP(w, in)
	}
	const envelope = `{"detail": null, "id": 1, "jsonrpc": "2.0", "result": {"error": {"code": 905, ` +
		`"message": "ERR905: Parameter port: write a number from 0 to 65535"}, "status": false}, ` +
		`"time": 1795521600.0, "version": "otpost 9.9"}`
	client, pages := httptest.NewRecorder(), &aware{ResponseRecorder: httptest.NewRecorder()}
	ask(client)
	ask(pages)
	for _, got := range []string{client.Body.String(), pages.Body.String()} {
		if got != envelope {
			t.Errorf("envelope\n%s, want\n%s", got, envelope)
		}
	}
	if want := []string{"port number [0 65535]"}; !slices.Equal(pages.about, want) {
		t.Errorf("the pages learn %q, want %q", pages.about, want)
	}
}

func TestPanicAnswersTheFixedSentenceAndIsLoggedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.login.do = func() { panic("marked panic") }
	g := r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {"x"}})
	r.want(g, http.StatusInternalServerError, -500, fault.InternalMessage)
	if n := strings.Count(r.log.String(), "level=ERROR"); n != 1 || !strings.Contains(r.log.String(), "marked panic") {
		t.Errorf("%d error lines: %s", n, r.log)
	}
	r.login.do = nil
	if g := r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {"x"}}); g.status != http.StatusOK {
		t.Errorf("after the panic: %d", g.status)
	}
}

func TestHugeBodyAnswers413(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.do("POST", "/validate/check", "", url.Values{"user": {strings.Repeat("a", MaxBody)}})
	r.want(g, http.StatusRequestEntityTooLarge, 4013, "larger than")
}

func TestBrokenJSONAnswersInTheEnvelope(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.want(r.do("POST", "/smtpserver/x", r.admin, "{bad"), http.StatusBadRequest, 905, "not valid JSON")
	r.want(r.do("POST", "/smtpserver/x", r.admin, "[1,2]"), http.StatusBadRequest, 905, "must be an object")
}

func TestOneAuditRowPerRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := url.Values{"user": {"alice"}, "realm": {"realm1"}, "pass": {"x"}}
	r.login.result = login.Result{Authentication: login.Reject, Message: "wrong otp pin", Judged: []string{"PIEM1"}}
	r.do("POST", "/validate/check", "", form)
	if n := r.count(`action = 'POST /validate/check' AND success = 0 AND authentication = 'REJECT' AND login = 'alice' AND realm = 'realm1'
		AND serial = 'PIEM1' AND client = '127.0.0.1' AND info = 'wrong otp pin'`); n != 1 {
		t.Errorf("rows of a refusal: %d", n)
	}
	r.login.result = login.Result{Authentication: login.Accept, Message: "matching 1 tokens", Recorded: true}
	r.do("POST", "/validate/check", "", form)
	r.do("GET", "/system/", r.admin, nil)
	r.do("GET", "/system/", "", nil)
	r.do("GET", "/healthz/livez", "", nil)
	if n := r.count(`1 = 1`); n != 3 {
		t.Errorf("rows = %d, want 3: login writes that of an ACCEPT itself, probes leave none", n)
	}
	if n := r.count(`administrator = 'admin' AND success = 1`); n != 1 {
		t.Errorf("rows of the administrator: %d", n)
	}
}

func TestClientThatHangsUpIsNoFaultOfOurs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.login.hang = make(chan struct{})
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-r.login.hang
		hangUp()
	}()
	request, err := http.NewRequestWithContext(ctx, "GET", r.server.URL+"/validate/check?user=alice&pass=x", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body.Close()
		t.Fatal("there was an answer")
	}
	r.server.Close() // waits for the request's end
	if n := r.count(`success = 0 AND login = 'alice' AND info = 'the client went away'`); n != 1 || r.count(`1 = 1`) != 1 {
		t.Errorf("rows: %d", n)
	}
	if strings.Contains(r.log.String(), "level=ERROR") {
		t.Errorf("log: %s", r.log)
	}
}

// What a request brings in secret must not stand in logs, journal or answers.
func TestSecretsStayOutOfLogsJournalAndAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const marked = "marked-4711-secret"
	r.login.err = errors.New("something failed")
	var answers strings.Builder
	for _, g := range []got{
		r.do("POST", "/validate/check", "", url.Values{"user": {"alice"}, "pass": {marked}}),
		r.do("GET", "/validate/check?user=alice&pass="+marked, "", nil),
		r.do("POST", "/auth", "", url.Values{"username": {"admin"}, "password": {marked}}),
		r.do("POST", "/validate/check", "", object{"user": "alice", "pass": []string{marked}}),
		r.do("POST", "/validate/check?pass="+marked, "", url.Values{"user": {"alice"}, "pass": {"other"}}),
		r.do("POST", "/smtpserver/s", r.admin, object{"server": "h", "username": "u", "password": marked, "private_key_password": marked}),
		r.do("POST", "/smtpserver/s", r.admin, object{"server": "h h", "password": marked}),
		r.do("GET", "/smtpserver/", r.admin, nil),
		r.do("POST", "/system/setConfig", r.admin, object{"k": marked, "k.type": "password"}),
		r.do("GET", "/system/", r.admin, nil),
		r.do("GET", "/system/k", r.admin, nil),
		r.do("GET", "/nosuch?pass="+marked, r.admin, nil),
	} {
		answers.WriteString(g.raw)
	}
	if strings.Contains(r.log.String(), marked) {
		t.Error("the log holds a secret")
	}
	if strings.Contains(answers.String(), marked) {
		t.Error("an answer holds a secret")
	}
	if n := r.count(`action || info || login || serial LIKE '%' || $1 || '%'`, marked); n != 0 {
		t.Error("the journal holds a secret")
	}
}

func TestRouteThatDeclaresNothingStopsTheStart(t *testing.T) {
	t.Parallel()
	whole := route{method: "GET", path: "/x", who: admins, right: "r", handler: (&server{}).live}
	if err := whole.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*route){
		"right":   func(r *route) { r.right = "" },
		"open":    func(r *route) { r.right = open },
		"who":     func(r *route) { r.who = 0 },
		"anyone":  func(r *route) { r.who = anyone },
		"handler": func(r *route) { r.handler = nil },
		"method":  func(r *route) { r.method = "" },
	} {
		spoiled := whole
		spoil(&spoiled)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a route without %s was taken", name)
				}
			}()
			(&server{routes: []route{spoiled}}).mux()
		}()
	}
}

// Who may call without a session is a decision: a new open route must be added here.
func TestOpenRoutesAreTheseAlone(t *testing.T) {
	t.Parallel()
	var open []string
	for _, rt := range (&server{}).table() {
		if rt.who == anyone {
			open = append(open, rt.method+" "+rt.path)
		}
	}
	slices.Sort(open)
	want := []string{"GET /healthz/livez", "GET /healthz/readyz", "GET /healthz/startupz", "GET /healthz/{$}", "GET /validate/check",
		"GET /validate/polltransaction", "GET /validate/polltransaction/{transaction}", "GET /validate/radiuscheck", "POST /auth",
		"POST /validate/check", "POST /validate/radiuscheck"}
	if diff := cmp.Diff(want, open); diff != "" {
		t.Error(diff)
	}
}

func TestClientIsNamedByListedProxiesAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	form := url.Values{"user": {"alice"}, "pass": {"x"}, "client": {"192.0.2.7"}}
	r.do("POST", "/validate/check", "", form)
	if r.login.asked.Client != "127.0.0.1" {
		t.Errorf("client = %s, nobody may name another", r.login.asked.Client)
	}
	r.want(r.do("POST", "/system/setConfig", r.admin, object{"OverrideAuthorizationClient": "nonsense"}), http.StatusBadRequest, 905, "write addresses")
	r.do("POST", "/system/setConfig", r.admin, object{"OverrideAuthorizationClient": "127.0.0.1"})
	r.do("POST", "/validate/check", "", form)
	if r.login.asked.Client != "192.0.2.7" {
		t.Errorf("client = %s, want that of the parameter", r.login.asked.Client)
	}
	r.do("GET", "/system/?client=192.0.2.8", r.admin, nil)
	if n := r.count(`client = '192.0.2.8'`); n != 0 {
		t.Error("the parameter client counts at /validate/ and /auth alone")
	}
}

func TestAuthAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, one := range []struct {
		form url.Values
		code float64
		text string
	}{
		{url.Values{"username": {"admin"}, "password": {"x"}}, 4031, "Authentication failed."},
		{url.Values{"username": {"nosuch"}, "password": {"x"}}, 4031, "Authentication failed."},
		{url.Values{"username": {"admin"}}, 4031, "Authentication failed."},
		{url.Values{"username": {strings.Repeat("a", 300)}, "password": {"x"}}, 4031, "Authentication failed."},
		{url.Values{"password": {"adminpw"}}, 4032, "Authentication failure. Missing Username"},
		{url.Values{}, 4032, "Authentication failure. Missing Username"},
		{url.Values{"username": {"admin@nosuchrealm"}, "password": {"adminpw"}}, 4031, "Authentication failed."},
	} {
		g := r.do("POST", "/auth", "", one.form)
		r.want(g, http.StatusUnauthorized, one.code, one.text)
		if diff := cmp.Diff(map[string]any{}, g.json["detail"]); diff != "" {
			t.Errorf("detail: %s", diff)
		}
	}
	// Java's client sends the users' realm with the administrator.
	g := r.do("POST", "/auth", "", object{"username": "admin", "password": "adminpw", "realm": "realm1"})
	value, _ := g.value().(map[string]any)
	if g.status != http.StatusOK || g.json["id"] != 2.0 || g.result()["authentication"] != "ACCEPT" || value["role"] != "admin" {
		t.Fatalf("answer: %d %s", g.status, g.raw)
	}
	if _, ok := g.json["time"].(float64); !ok {
		t.Errorf("time = %v, Java needs a number", g.json["time"])
	}
	session, _ := value["token"].(string)
	if g := r.do("GET", "/system/", session, nil); g.status != http.StatusOK {
		t.Errorf("with the new session: %d %s", g.status, g.raw)
	}
	if rights, _ := value["rights"].([]any); !slices.Contains(rights, any("smtpserver_write")) {
		t.Errorf("rights = %v", rights)
	}
}

func TestAuthSlowsGuessing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	last := got{}
	for _, realm := range []string{"a", "b", "c", "d", "e"} { // the realm does not help
		if got := last.header.Get("Retry-After"); got != "" {
			t.Errorf("Retry-After: %q after a wrong password that costs no time yet", got)
		}
		last = r.do("POST", "/auth", "", url.Values{"username": {"admin"}, "password": {"x"}, "realm": {realm}})
	}
	r.want(last, http.StatusUnauthorized, 4031, "try again in 1 s")
	if got := last.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: %q, want 1", got)
	}
	r.want(r.do("POST", "/auth", "", url.Values{"username": {"admin"}, "password": {"adminpw"}}), http.StatusUnauthorized, 4031, "try again")
}

func TestUserSeesNothingOfAdministration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeRealm("pw", "realm1")
	alice := r.signIn("alice", "realm1")
	for _, rt := range (&server{}).table() {
		if rt.who != admins {
			continue
		}
		path := strings.NewReplacer("{$}", "", "{serial}", "S", "{key}", "k", "{identifier}", "i", "{realm}", "r", "{resolver}", "p").Replace(rt.path)
		g := r.do(rt.method, path, alice, nil)
		r.want(g, http.StatusUnauthorized, 4306, "['admin']")
		r.want(r.do(rt.method, path, "", nil), http.StatusUnauthorized, 4033, "Missing")
	}
}

// Bodies that strangers send take a bounded part of the memory.
func TestLargeBodiesAreBounded(t *testing.T) {
	t.Parallel()
	places := make(chan struct{}, 2)
	read := func(size int) (*body, error) {
		b := &body{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("a", size))), places: places}
		got, err := io.ReadAll(b)
		if err == nil && len(got) != size {
			t.Errorf("%d of %d bytes were read", len(got), size)
		}
		return b, err
	}
	var all []*body
	for range 2 {
		b, err := read(smallBody + 1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if _, err := read(smallBody + 1); fault.CodeOf(err) != fault.Busy {
		t.Errorf("a third large body: %v", err)
	}
	if _, err := read(smallBody - 1); err != nil {
		t.Errorf("a small body beside large ones: %v", err)
	}
	all[0].release()
	if _, err := read(MaxBody); err != nil {
		t.Errorf("a large body at a free place: %v", err)
	}
}

func TestLargeBodyGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 2 * mostLarge {
		if g := r.do("POST", "/auth", "", "x="+strings.Repeat("a", 2*smallBody)); g.status != http.StatusBadRequest {
			t.Fatalf("answer: %d %s", g.status, g.raw)
		}
	}
}
