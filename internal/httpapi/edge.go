package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"otpost/internal/access"
	"otpost/internal/audit"
	"otpost/internal/fault"
)

// call is what the edge knows of a request while its handler runs. It belongs to the request's goroutine.
type call struct {
	route    *route
	version  string
	begun    time.Time
	twice    bool // path values are decoded once more
	params   Params
	identity access.Identity // the zero value on open routes
	client   string          // address
	entry    audit.Entry     // handlers add what they learn
	// POST /auth: the user whose password was given, and who exists; no other name, which may be a password
	guessed  string
	recorded bool // login wrote the row in its own transaction
	counted  bool // a fail counter counts the guess, and so bounds the rows
	loud     bool // what a quiet route does this time belongs into the journal
}

type callKey struct{}

// callOf returns the call that the edge made for a request.
func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// paramsOf returns the request's parameters.
func paramsOf(r *http.Request) Params { return callOf(r).params }

// pathOf returns a value of the path, decoded like every other parameter.
func pathOf(r *http.Request, name string) (string, error) {
	text := r.PathValue(name)
	if callOf(r).twice {
		text = unescape(text)
	}
	if !acceptable(text) {
		return "", fault.Wrong(name, "utf8", "it must be valid UTF-8 without NUL")
	}
	return text, nil
}

// reply buffers an answer, so that a handler that fails in its middle leaves nothing half-written, and the audit row is
// written before the answer leaves.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
	about  []about
}

// about says what a sentence of an answer is about, for the pages: they choose the text of their language by it. It
// is no part of the answer: it goes to a writer with the method About only, and a connection has none
// (docs/decisions/0013).
type about struct {
	field string // the parameter, empty for none
	key   string // fault.Error.Key
	args  []any  // fault.Error.Args
}

// note adds what the next sentence of the answer is about.
func note(w http.ResponseWriter, field, key string, args ...any) {
	if b, ok := w.(*reply); ok {
		b.about = append(b.about, about{field, key, args})
	}
}

func newReply() *reply { return &reply{header: make(http.Header), status: http.StatusOK} }

// Header implements http.ResponseWriter.
func (b *reply) Header() http.Header { return b.header }

// WriteHeader implements http.ResponseWriter.
func (b *reply) WriteHeader(status int) { b.status = status }

// Write implements http.ResponseWriter.
func (b *reply) Write(p []byte) (int, error) { return b.body.Write(p) }

// send writes the answer to the client. A client that is gone does not matter any more.
func (b *reply) send(w http.ResponseWriter) {
	if pages, ok := w.(interface {
		About(field, key string, args []any)
	}); ok {
		for _, a := range b.about {
			pages.About(a.field, a.key, a.args)
		}
	}
	header := w.Header()
	for name, values := range b.header {
		header[name] = values
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if b.status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(b.body.Len()))
	}
	w.WriteHeader(b.status)
	w.Write(b.body.Bytes()) //nolint:errcheck // see above
}

// edge answers the requests of a route: the one place that recovers, audits, logs and writes.
func (s *server) edge(rt *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{route: rt, version: s.options.Version, begun: s.options.Now(), twice: decodesTwice(r.UserAgent()),
			client: peer(r).String(), entry: audit.Entry{Action: rt.method + " " + rt.path}}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		given := &body{ReadCloser: r.Body, places: s.largeBodies}
		defer given.release()
		r.Body = given
		out := newReply()
		err := s.run(w, out, r)
		if err != nil {
			out = newReply()
			s.refuse(out, c, err)
		}
		if s.record(r, c, out.status, err) {
			s.tell(r, c, out.status, err)
		}
		out.send(w)
	})
}

// run takes a request to its handler: who calls, with what, from where. A panic becomes an error.
func (s *server) run(w http.ResponseWriter, out *reply, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	c := callOf(r)
	if err := s.identify(r, c); err != nil {
		return err
	}
	if c.params, err = decode(w, r); err != nil {
		return err
	}
	if !c.route.bare { // a probe asks the database for nothing that could hang
		if err := s.locate(r, c); err != nil {
			return err
		}
	}
	return c.route.handler(out, r)
}

// identify finds out who calls, where the route wants to know. PI-Authorization beats Authorization (recorded:
// auth.json).
func (s *server) identify(r *http.Request, c *call) error {
	if c.route.who == anyone {
		return nil
	}
	header := r.Header.Get("PI-Authorization")
	if header == "" {
		header = r.Header.Get("Authorization")
	}
	id, err := s.Sessions.Verify(r.Context(), header, s.Users)
	if err != nil {
		return err
	}
	c.identity = id
	if id.Role == access.Admin {
		c.entry.Administrator = id.Name
	} else {
		c.entry.Login, c.entry.Realm = id.Name, id.Realm
	}
	return id.Require(c.route.who.roles()...)
}

// locate finds the client's address: the peer's, unless OverrideAuthorizationClient lets the peer name another.
func (s *server) locate(r *http.Request, c *call) error {
	client := ""
	if c.route.client {
		client = c.params.Text("client")
	}
	claim := claimed(r, client)
	if len(claim.hops) > 0 || claim.unread != "" {
		values, err := s.Settings.Load(r.Context())
		if err != nil {
			return err
		}
		// With a value that no longer parses, no proxy may name the client.
		if paths, err := parseProxies(values.OverrideAuthorizationClient()); err == nil {
			address, more := clientAddress(paths, append([]netip.Addr{peer(r)}, claim.hops...))
			c.client = address.String()
			if more && claim.unread != "" {
				s.unreadable.tell(s.log, peer(r), claim)
			}
		}
	}
	c.entry.Client = c.client
	return nil
}

// refuse renders an error.
func (s *server) refuse(out *reply, c *call, err error) {
	status, f := public(err)
	out.about = []about{{f.Field, f.Key, f.Args}}
	var waiting *access.Waiting
	switch {
	case f.Code == fault.TooLarge:
		out.Header().Set("Connection", "close") // the rest of the body is not read
	case f.Code == fault.Busy:
		out.Header().Set("Retry-After", "2")
	case errors.As(err, &waiting):
		out.Header().Set("Retry-After", strconv.FormatInt(waiting.Seconds, 10))
	}
	if writeErr := writeJSON(out, status, failure(c, f)); writeErr != nil {
		panic(writeErr) // texts and numbers always encode, and the buffer takes everything
	}
}

// lookingKey marks the context of requests that Quiet let in. It is no header, which a client could send.
type lookingKey struct{}

// Quiet returns api, which New made, for the pages in this process. The reads of a page write no audit row, because an
// open page reads each second. Calls that change, log in, send or unmask are audited as always, and so is a wrong role.
func Quiet(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), lookingKey{}, true)))
	})
}

// journaled reports whether a request belongs into the journal, by what came of it.
func (c *call) journaled(ctx context.Context, err error) bool {
	looking, _ := ctx.Value(lookingKey{}).(bool)
	quiet := c.route.quiet || looking && c.route.method == http.MethodGet && !c.route.acts
	return !quiet || c.loud || fault.CodeOf(err) == fault.WrongRole
}

// record writes the request's one row into the journal, unless login did so in the transaction that accepted. A
// journal that cannot be written is told, and the answer leaves all the same: what it says has already happened. It
// reports false for a request that the journal leaves out, because its client sends too many: the log leaves it out
// as well.
func (s *server) record(r *http.Request, c *call, status int, err error) (within bool) {
	if c.recorded || !c.journaled(r.Context(), err) {
		return true
	}
	e := c.entry
	e.Client = c.client
	e.Success = err == nil && e.Authentication != "REJECT" && status < http.StatusBadRequest
	switch {
	case gone(r.Context(), err):
		e.Info = "the client went away"
	case err != nil:
		_, f := public(err)
		e.Info = f.Message
	}
	// The client may have hung up; the row is written all the same.
	ctx, within := context.WithoutCancel(r.Context()), true
	var lost error
	if c.identity.Name == "" && !e.Success && !c.counted {
		within, lost = s.Journal.Refused(ctx, access.Network(c.client), e)
	} else {
		lost = s.Journal.Record(ctx, e)
	}
	if lost != nil {
		// Once a second: a full disk must not fill the log, on the same disk perhaps, at the rate of the polls.
		if now := s.options.Now().Unix(); s.complained.Swap(now) != now {
			s.log.Error("audit row not written", "err", lost, "action", e.Action)
		}
	}
	return within
}

// tell logs what an operator should see: what was our fault as an error, hidden causes as information.
func (s *server) tell(r *http.Request, c *call, status int, err error) {
	var f *fault.Error
	var waiting *access.Waiting
	switch {
	case err == nil:
	case errors.As(err, &waiting):
		s.log.Info("held up", "user", c.guessed, "seconds", waiting.Seconds, "client", c.client)
	case errors.Is(err, errWrongPassword):
		s.log.Info("wrong password", "user", c.guessed, "client", c.client)
	case errors.Is(err, errUnknownUser):
		s.log.Info("unknown user", "client", c.client)
	case gone(r.Context(), err):
		s.log.Debug("client hung up", "action", c.entry.Action, "client", c.client)
	case status >= http.StatusInternalServerError:
		s.log.Error("request failed", "action", c.entry.Action, "client", c.client, "err", err)
	case errors.As(err, &f) && f.Err != nil:
		s.log.Info("request refused", "action", c.entry.Action, "client", c.client, "err", err)
	}
}
