package test

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"otpost/test/e2e"
)

// shown is the view of a browser of a server below a base path.
type shown struct {
	t      *testing.T
	url    string // of the proxy
	client *http.Client
	pages  map[string]int // path -> status, of what was opened
}

// showBelow puts a proxy with TLS before a server: paths that do not begin with /pi/ belong to
// another program. With strip it cuts the path off.
func showBelow(t *testing.T, server string, strip bool) *shown {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
	}
	var below http.Handler = forward
	if strip {
		below = http.StripPrefix("/pi", forward)
	}
	all := http.NewServeMux()
	all.Handle("/pi/", below)
	all.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s leads to another program", r.Method, r.URL)
		http.NotFound(w, r)
	})
	proxy := httptest.NewTLSServer(all)
	t.Cleanup(proxy.Close)
	s := &shown{t: t, url: proxy.URL, client: proxy.Client(), pages: map[string]int{}}
	if s.client.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	s.client.Timeout = time.Minute
	return s
}

// open asks for an address and returns status, header and body; of an event stream only the header.
func (s *shown) open(method, address string, form url.Values) (int, http.Header, string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+address, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer a.Body.Close()
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		return a.StatusCode, a.Header, ""
	}
	body, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, address, err)
	}
	return a.StatusCode, a.Header, string(body)
}

//nolint:gochecknoglobals // a constant pattern
var addressOf = regexp.MustCompile(`\b(href|src|action|formaction|data-live)="([^"]*)"`)

// crawl opens a page and all that it links to. Every address must lie below /pi/ and answer 200;
// targets of forms are not opened.
func (s *shown) crawl(address string) {
	s.t.Helper()
	if _, seen := s.pages[address]; seen {
		return
	}
	s.pages[address] = 0
	status, header, body := s.open(http.MethodGet, address, nil)
	s.pages[address] = status
	if status != http.StatusOK {
		s.t.Errorf("GET %s: %d", address, status)
	}
	if !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		return
	}
	for _, m := range addressOf.FindAllStringSubmatch(body, -1) {
		to := html.UnescapeString(m[2])
		switch {
		case strings.HasPrefix(to, "#"):
		case !strings.HasPrefix(to, "/pi/"):
			s.t.Errorf("%s has %s", address, m[0])
		case !strings.HasSuffix(m[1], "action"):
			s.crawl(to)
		}
	}
}

// TestPagesWorkBelowAPath signs in behind a proxy that shows the server at /pi/, opens every page, and logs in by REST.
func TestPagesWorkBelowAPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--base-path", "/pi/")
	l := w.enrol(t, "BELOW")
	l.begin(t, w.server.Client)
	for name, strip := range map[string]bool{"path kept": false, "path cut off": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := showBelow(t, w.server.URL, strip)
			s.crawl("/pi/")
			status, _, body := s.open(http.MethodPost, "/pi/ui/signin",
				url.Values{"username": {"admin"}, "password": {e2e.AdminPassword}, "next": {"/"}})
			if status != http.StatusOK || !strings.Contains(body, `action="/pi/ui/signout"`) {
				t.Fatalf("signed in: %d\n%s", status, body)
			}
			at, _ := url.Parse(s.url + "/pi/ui/")
			if c := s.client.Jar.Cookies(at); len(c) != 1 || c[0].Name != "__Secure-otpost" {
				t.Errorf("cookies below /pi/: %v", c)
			}
			if c := s.client.Jar.Cookies(&url.URL{Scheme: "https", Host: at.Host, Path: "/other"}); len(c) != 0 {
				t.Errorf("cookies of another program: %v", c)
			}
			s.pages = map[string]int{}
			s.crawl("/pi/")
			for _, want := range []string{
				"/pi/ui/overview", "/pi/ui/overview/live", "/pi/ui/servers", "/pi/ui/servers/queued", "/pi/ui/users",
				"/pi/ui/deliveries",
				"/pi/ui/try", "/pi/ui/login", "/pi/ui/static/otpost.css", "/pi/ui/static/otpost.js",
			} {
				if s.pages[want] != http.StatusOK {
					t.Errorf("%s was not reached from /pi/: %v", want, s.pages)
				}
			}
			if status, _, body = s.open(http.MethodPost, "/pi/ui/language?next=/ui/servers",
				url.Values{"language": {"de"}}); status != http.StatusOK || !strings.Contains(body, `lang="de"`) {
				t.Errorf("language chosen: %d", status)
			}
			if status, _, body = s.open(http.MethodPost, "/pi/validate/check",
				url.Values{"serial": {l.serial}, "pass": {l.pin}}); status != http.StatusOK ||
				!strings.Contains(body, `"CHALLENGE"`) {
				t.Errorf("POST /pi/validate/check: %d %s", status, body)
			}
			for _, address := range []string{"/pi/favicon.ico", "/pi//ui/servers", "/pi/healthz/readyz"} {
				if status, _, _ = s.open(http.MethodGet, address, nil); status != http.StatusOK {
					t.Errorf("GET %s: %d", address, status)
				}
			}
			if status, _, body = s.open(http.MethodPost, "/pi/ui/signout", url.Values{}); status != http.StatusOK ||
				strings.Contains(body, "signout") {
				t.Errorf("signed out: %d", status)
			}
		})
	}
}

func TestBasePathThatIsTakenStopsTheStart(t *testing.T) {
	t.Parallel()
	s := e2e.NewSite(t, programs, false)
	for path, want := range map[string]string{
		"/auth": "/auth is a path of otpost itself", "/ui/x": "/ui is a path of otpost itself",
		"pi": "is not a base path: write /pi",
	} {
		if code, p := e2e.Run(t, serve(s, "--base-path", path)); code == 0 || !strings.Contains(p.Err.String(), want) {
			t.Errorf("--base-path %s: exit code %d, %s", path, code, p.Err)
		}
	}
}
