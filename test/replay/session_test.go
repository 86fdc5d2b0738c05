package replay

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// session sends recorded requests to a running server, with this run's values in place of the recorded ones: ports, the
// passwd file, transaction ids and codes.
type session struct {
	t            *testing.T
	in           *installation
	sink         *sink
	ports        map[string]string // recorded port -> port of this run
	transactions map[string]string
	codes        map[string]string
	tokens       map[string]string // who -> session token
	client       *http.Client
}

func newSession(t *testing.T, in *installation, s *sink, dead, slow string) *session {
	t.Helper()
	port := func(address string) string {
		_, p, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	return &session{
		t:            t,
		in:           in,
		sink:         s,
		ports:        map[string]string{"15025": port(s.address), "15026": port(slow), "15099": port(dead)},
		transactions: map[string]string{},
		codes:        map[string]string{},
		tokens:       map[string]string{},
		client: &http.Client{
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// play sends one exchange and returns the answer with the mails that it caused. Mails are waited
// for as long as patience.
func (s *session) play(e exchange, patience time.Duration) answer {
	s.t.Helper()
	a := s.send(e.Request, e)
	mails := 0
	for _, m := range e.Mails {
		if m.Port != 0 {
			mails++
		}
	}
	a.mails = s.sink.take(mails, patience)
	for i, m := range e.Mails {
		if i < len(a.mails) && m.Port != 0 {
			s.codes[codeIn(m.Raw)] = codeIn(a.mails[i].raw)
		}
	}
	s.learn(e.Response.JSON, a.json)
	return a
}

// learn records which transaction of this run replaces which recorded one.
func (s *session) learn(recorded, got any) {
	switch r := recorded.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return
		}
		for key, value := range r {
			from, isText := value.(string)
			to, _ := g[key].(string)
			if key == "transaction_id" && isText && to != "" {
				s.transactions[from] = to
			}
			s.learn(value, g[key])
		}
	case []any:
		g, ok := got.([]any)
		for i := 0; ok && i < min(len(r), len(g)); i++ {
			s.learn(r[i], g[i])
		}
	}
}

// send sends a request with this run's values.
func (s *session) send(r request, e exchange) answer {
	s.t.Helper()
	var body io.Reader
	contentType := ""
	switch {
	case r.Raw != nil:
		body, contentType = strings.NewReader(r.Raw[0]), r.Raw[1]
	case r.JSON != nil:
		raw, err := json.Marshal(s.replaced("", named(r.JSON, e)))
		if err != nil {
			s.t.Fatal(err)
		}
		body, contentType = bytes.NewReader(raw), "application/json"
	case r.Form != nil:
		form, _ := named(r.Form, e).(map[string]any)
		body, contentType = strings.NewReader(s.values(form).Encode()), "application/x-www-form-urlencoded"
	}
	target := s.in.url + s.path(r.Path)
	if len(r.Query) > 0 {
		target += "?" + s.values(r.Query).Encode()
	}
	request, err := http.NewRequestWithContext(s.t.Context(), r.Method, target, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if header := r.Headers["PI-Authorization"]; header != "" {
		request.Header.Set("PI-Authorization", s.authorization("admin", e))
	}
	if r.Auth != "" {
		request.Header.Set("Authorization", s.authorization(r.Auth, e))
	}
	return s.do(request)
}

func (s *session) do(request *http.Request) answer {
	s.t.Helper()
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", request.Method, request.URL.Path, err, s.in.log)
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		s.t.Fatalf("%s %s: %v", request.Method, request.URL.Path, err)
	}
	var parsed any
	if decode(a.body, &parsed) == nil {
		a.json = parsed
	}
	return a
}

// named adds the recorded serial to an enrolment that draws one, so that lists have the recorded order.
func named(body any, e exchange) any {
	if e.Request.Path != "/token/init" {
		return body
	}
	recorded, _ := e.Response.JSON.(map[string]any)
	detail, _ := recorded["detail"].(map[string]any)
	fields, ok := body.(map[string]any)
	if serial := detail["serial"]; ok && serial != nil {
		fields = maps.Clone(fields)
		fields["serial"] = serial
		return fields
	}
	return body
}

// replaced replaces recorded values: in requests (key = the parameter's name) and in the expected
// answer.
func (s *session) replaced(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = s.replaced(k, item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = s.replaced(key, item)
		}
		return out
	case json.Number:
		if port, ok := s.ports[v.String()]; ok && key == "port" {
			return json.Number(port)
		}
	case string:
		return s.text(key, v)
	}
	return v
}

func (s *session) text(key, v string) string {
	switch key {
	case "port":
		if port, ok := s.ports[v]; ok {
			return port
		}
	case "server":
		if host, port, ok := strings.Cut(v, "127.0.0.1:"); ok && s.ports[port] != "" {
			return host + "127.0.0.1:" + s.ports[port]
		}
	case "fileName":
		if v == "users.passwd" {
			return s.in.users
		}
	case "transaction_id":
		if id, ok := s.transactions[v]; ok {
			return id
		}
	case "pass":
		const length = 6
		if n := len(v) - length; n >= 0 && s.codes[v[n:]] != "" {
			return v[:n] + s.codes[v[n:]]
		}
	}
	return v
}

// path replaces a recorded transaction id at a path's end.
func (s *session) path(path string) string {
	front, last, _ := cutLast(path)
	if id, ok := s.transactions[last]; ok {
		return front + "/" + id
	}
	return path
}

func cutLast(path string) (front, last string, found bool) {
	n := strings.LastIndexByte(path, '/')
	if n < 0 {
		return path, "", false
	}
	return path[:n], path[n+1:], true
}

// values are form or query parameters; null means that the recorder left the parameter out.
func (s *session) values(fields map[string]any) url.Values {
	out := url.Values{}
	for key, value := range fields {
		if value != nil {
			out.Set(key, fmt.Sprint(s.replaced(key, value)))
		}
	}
	return out
}

// authorization returns the header for a recorded one. Literal tokens were shortened in the
// recording.
func (s *session) authorization(who string, e exchange) string {
	switch {
	case who == "(literal) garbage...":
		return "garbage"
	case strings.HasPrefix(who, "(literal) Bearer "):
		return "Bearer " + s.authorization("admin", e)
	case strings.Contains(e.Name, "expired"):
		return mint(s.in.secretKey, "admin", "admin", time.Now().Add(-time.Minute))
	case strings.Contains(e.Name, "wrongly signed"):
		return mint("another key, which nobody knows", "admin", "admin", time.Now().Add(time.Hour))
	case who == "service": // an API key of role validate
		return mint(s.in.secretKey, "service", "validate", time.Now().Add(time.Hour))
	}
	if s.tokens[who] == "" {
		s.tokens[who] = s.login(who)
	}
	return s.tokens[who]
}

func (s *session) login(who string) string {
	s.t.Helper()
	password := map[string]any{"admin": adminPassword, "alice": "userpw"}[who]
	a := s.send(request{Method: "POST", Path: "/auth", Form: map[string]any{"username": who, "password": password}},
		exchange{})
	var body struct {
		Result struct {
			Value struct {
				Token string `json:"token"`
			} `json:"value"`
		} `json:"result"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.Result.Value.Token == "" {
		s.t.Fatalf("/auth as %s: status %d, no token", who, a.status)
	}
	return body.Result.Value.Token
}

// mint signs a session token with the original's claims (RFC 7519, HS256).
func mint(key, name, role string, expires time.Time) string {
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err) // only maps of strings and numbers
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := encode(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." +
		encode(map[string]any{"username": name, "realm": "",
			"nonce": "00", "role": role, "authtype": "password", "exp": expires.Unix(), "rights": []string{}})
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// set is a call that was made but not recorded; it must succeed.
func (s *session) set(method, path string, body map[string]any) answer {
	s.t.Helper()
	r := request{Method: method, Path: path, Auth: "admin"}
	if body != nil {
		r.JSON = body
	}
	a := s.send(r, exchange{Name: "set-up"})
	if a.status != http.StatusOK {
		s.t.Errorf("set-up call %s %s: status %d, %.300s", method, path, a.status, a.body)
	}
	return a
}
