// Package webui renders the pages that administrators see.
//
// It promises: a page can do nothing that REST cannot, because each page calls the REST API in this process with the
// session of its visitor. Every page has the same strict Content-Security-Policy. Each language has one file of texts.
// Every page works without JavaScript, which only refreshes what is shown. The package knows no record, rule or right.
// screens.go is the table of the screens. Each other file holds one screen, or one thing that screens share.
package webui

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

//go:embed template static text
var files embed.FS

// Options may stay zero.
type Options struct {
	Version string // shown at the foot of each page
	// path that the pages lie below for browsers, such as /pi: links and cookies begin with it. Empty: the root
	Base string
	Now  func() time.Time // time.Now
	Log  *slog.Logger     // discards
	// Network returns what counts as one client by a peer's address; empty for a peer that speaks
	// for many. nil: it always does.
	Network func(address string) string
}

// Site is the pages with the API behind them. It is safe for concurrent use.
type Site struct {
	api       http.Handler
	options   Options
	log       *slog.Logger
	languages languages
	templates templates
	screens   []screen
	streams   chan struct{}   // one place for each open event stream of a session
	guests    chan struct{}   // those of people without one: they take no place from administrators
	guestsOf  networks        // the guests by client network
	stopping  context.Context // ends with Stop: event streams would hold a graceful stop up
	stop      context.CancelFunc
	packers   sync.Pool // of *gzip.Writer: each holds a megabyte
	handler   http.Handler
	forms     http.Handler // shows forms again, at the addresses that they are sent to (again.go)
}

// New returns the pages in front of api: they answer at / and below /ui/, api answers everything else. An error is
// a mistake in the embedded templates or texts.
func New(api http.Handler, o Options) (*Site, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Network == nil {
		o.Network = func(string) string { return "" }
	}
	s := &Site{
		api:      api,
		options:  o,
		log:      o.Log.With("component", "webui"),
		screens:  table(),
		streams:  make(chan struct{}, mostStreams),
		guests:   make(chan struct{}, mostStreams),
		guestsOf: networks{held: make(map[string]int)},
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	var err, errTexts error
	s.templates, err = parseTemplates(files, o.Base)
	s.languages, errTexts = readLanguages(files)
	if err := errors.Join(err, errTexts); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Stop ends the event streams, for a server that is about to wait for its last answers.
func (s *Site) Stop() { s.stop() }

// routes returns the handler of all paths. State is changed by POST alone, behind the check that it comes from a
// page of ours.
func (s *Site) routes() http.Handler {
	pages, forms := http.NewServeMux(), http.NewServeMux()
	forms.Handle("/", s.screen(screen{show: (*visit).notFound, open: true}))
	for _, one := range s.screens {
		pages.Handle(one.method+" "+one.path, s.screen(one))
		if one.again != nil {
			again := one
			again.show = one.again
			forms.Handle(one.method+" "+one.path, s.screen(again))
		}
	}
	s.forms = forms
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // a constant name
	}
	pages.Handle("GET /ui/static/", http.StripPrefix("/ui/static/", cached(http.FileServerFS(static))))
	pages.Handle("/ui/", s.screen(screen{show: (*visit).notFound, open: true}))

	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(s.screen(screen{show: (*visit).foreign, open: true}))
	guarded := sameOrigin.Handler(pages)
	all := http.NewServeMux()
	all.Handle("/", s.api)
	all.Handle("GET /{$}", guarded)
	all.Handle("/ui/", guarded)
	all.Handle("GET /favicon.ico", cached(http.RedirectHandler("/ui/static/icon.svg", http.StatusMovedPermanently)))
	return all
}

// cached lets a browser keep what only a new version of the program changes for a while.
func cached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		if r.URL.Path == "" {
			http.NotFound(w, r) // no list of what there is
			return
		}
		w.Header().Set("Cache-Control", "max-age=300")
		h.ServeHTTP(w, r)
	})
}
