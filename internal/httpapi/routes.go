package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"otpost/internal/access"
	"otpost/internal/fault"
)

// who says which roles may call a route. Zero declares nothing.
type who int

const (
	anyone  who = iota + 1
	session     // administrators, and users for what is theirs
	admins
)

func (w who) roles() []access.Role {
	if w == admins {
		return []access.Role{access.Admin}
	}
	return []access.Role{access.Admin, access.User}
}

// emptyDetail says on which errors "detail" is {} instead of null, as recorded.
type emptyDetail int

const (
	never    emptyDetail = iota
	onRole               // on 4306: the role is checked inside the original's handler
	onAccess             // on all errors about who calls
)

// What stands in the place of a right where none is needed.
const (
	open     = "open"      // anyone may call
	signedIn = "signed in" // a session is enough
)

// handler answers a request or returns the error to answer with.
type handler func(http.ResponseWriter, *http.Request) error

// route is one row of the table.
type route struct {
	method  string
	path    string // a pattern of net/http's ServeMux
	who     who
	right   string   // privacyIDEA's name of the right, or open, or signedIn
	more    []string // rights that parameters of the route ask for (server.require)
	handler handler
	empty   emptyDetail
	client  bool // the parameter client may name the client (OverrideAuthorizationClient)
	quiet   bool // no audit row, unless the role is wrong or its handler asks for one (call.loud): probes, and what a page polls
	acts    bool // a GET that does more than read: it logs in or sends
	bare    bool // the answer has no version: probes
}

func (rt *route) emptyDetail(code fault.Code) bool {
	switch code {
	case fault.WrongRole:
		return rt.empty != never
	case fault.BadCredentials, fault.MissingUser, fault.MissingToken, fault.InvalidToken, fault.ExpiredToken:
		return rt.empty == onAccess
	}
	return false
}

// Owns reports whether the API answers at /SEGMENT or below it.
func Owns(segment string) bool {
	return slices.ContainsFunc((&server{}).table(), func(r route) bool {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.path, "/"), "/")
		return first == segment
	})
}

// table returns all routes, by resource.
func (s *server) table() []route {
	return slices.Concat(s.authRoutes(), s.validateRoutes(), s.tokenRoutes(), s.userRoutes(), s.serverRoutes(), s.systemRoutes(), s.deliveryRoutes(),
		s.queueRoutes(), s.probeRoutes())
}

// check returns what is missing in a row.
func (rt *route) check() error {
	switch {
	case rt.right == "":
		return fmt.Errorf("route %s %s declares no right", rt.method, rt.path)
	case rt.who == 0 || (rt.right == open) != (rt.who == anyone):
		return fmt.Errorf("route %s %s does not say who may call it", rt.method, rt.path)
	case rt.handler == nil || rt.method == "":
		return fmt.Errorf("route %q %s has no method or no handler", rt.method, rt.path)
	}
	return nil
}

// mux returns the handler of all paths.
func (s *server) mux() http.Handler {
	methods := make(map[string]map[string]http.Handler) // path -> method
	for i := range s.routes {
		rt := &s.routes[i]
		if err := rt.check(); err != nil {
			panic(err)
		}
		if methods[rt.path] == nil {
			methods[rt.path] = make(map[string]http.Handler)
		}
		if methods[rt.path][rt.method] != nil {
			panic(fmt.Sprintf("route %s %s stands twice in the table", rt.method, rt.path))
		}
		methods[rt.path][rt.method] = s.edge(rt)
	}
	mux := http.NewServeMux()
	for path, handlers := range methods {
		mux.Handle(path, byMethod(handlers))
		if bare, ok := strings.CutSuffix(path, "/{$}"); ok && bare != "" && methods[bare] == nil {
			mux.HandleFunc(bare, addSlash)
		}
	}
	mux.HandleFunc("/", notFound)
	return mux
}

// byMethod answers the methods of a path; HEAD as GET, OPTIONS with the list, others with 405 (RFC 9110 section
// 15.5.6).
func byMethod(handlers map[string]http.Handler) http.Handler {
	allowed := []string{http.MethodOptions}
	for method := range handlers {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h := handlers[method]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		if r.Method == http.MethodOptions {
			page(w, http.StatusOK, "")
			return
		}
		page(w, http.StatusMethodNotAllowed, "The method is not allowed for this URL.")
	})
}

// addSlash sends a client to the same path with a slash at its end, as the original does; 308 keeps method and body.
func addSlash(w http.ResponseWriter, r *http.Request) {
	target := r.URL.EscapedPath() + "/"
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", target)
	page(w, http.StatusPermanentRedirect, "The page lies at the same address with a slash at its end.")
}

// notFound answers paths without a route, as recorded: without an envelope.
func notFound(w http.ResponseWriter, _ *http.Request) {
	out := newReply()
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(http.StatusNotFound)
	out.body.WriteString(`{"error":"Not found"}` + "\n")
	out.send(w)
}

// page writes a small HTML page with a constant text.
func page(w http.ResponseWriter, status int, text string) {
	out := newReply()
	out.Header().Set("Content-Type", "text/html; charset=utf-8")
	out.WriteHeader(status)
	if text != "" {
		fmt.Fprintf(&out.body, "<!doctype html>\n<title>%d %s</title>\n<h1>%[2]s</h1>\n<p>%s</p>\n", status, http.StatusText(status), text)
	}
	out.send(w)
}
