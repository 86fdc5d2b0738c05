// Package httpapi is privacyIDEA's REST API.
//
// It promises: every request passes one decoder (decode.go), one table of routes with a right in each row
// (routes.go) and one edge that answers, logs, writes the request's one audit row and survives a panic (edge.go);
// every error number has its HTTP status in one table (errors.go); answers have the recorded envelope (envelope.go,
// testdata/rest). What it does not: decide anything about a login, a token or a message, or know the database.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"otpost/internal/access"
	"otpost/internal/audit"
	"otpost/internal/challenge"
	"otpost/internal/delivery"
	"otpost/internal/login"
	"otpost/internal/mail"
	"otpost/internal/queue"
	"otpost/internal/system"
	"otpost/internal/token"
	"otpost/internal/user"
)

// Login decides logins; it is login.Service, or a stand-in of a test.
type Login interface {
	Check(ctx context.Context, r login.Request) (login.Result, error)
	Trigger(ctx context.Context, r login.Request) (login.Result, error)
}

// Deps are the services behind the API. All but Queue are required. There is one field per service.
type Deps struct {
	Login          Login
	Tokens         *token.Service
	Users          *user.Directory
	Servers        *mail.Servers
	Delivery       *delivery.Service
	Settings       *system.Settings
	Administrators *access.Administrators
	Sessions       *access.Sessions
	Guard          *access.Guard
	Journal        *audit.Journal
	Queue          queue.Driver // nil: no queue
	// Unanswered returns the challenges of a transaction that are neither answered nor ended (challenge.Unanswered).
	Unanswered func(ctx context.Context, transactionID string) ([]challenge.Challenge, error)
	// Challenges lists open challenges (challenge.List).
	Challenges func(ctx context.Context, f challenge.Filter) (challenge.Page, error)
}

// Options may stay zero.
type Options struct {
	Version    string           // in every answer; "0"
	Node       string           // PI_NODE: the name of this server in /system/nodes
	NodeID     string           // what tells this installation from others: the database's instance id
	QueueName  string           // of Deps.Queue
	QueuePlace string           // where Deps.Queue is kept, for people
	StartOne   string           // the command that starts a worker
	Now        func() time.Time // time.Now
	Log        *slog.Logger     // discards
	// Check reports whether the database can be read and written now; it answers within half a second. nil: it
	// always can.
	Check func(context.Context) error
	// Trouble says why the database takes no writes now: locked, full, read_only, io or damaged; empty
	// when it does. nil: it always does.
	Trouble func() string
	// LogHangs reports whether a log of the process takes no lines; nil: none does.
	LogHangs func() bool
	// OtherKeys: the key file is not the one that the database was made with.
	OtherKeys bool
}

// server is the API with its services.
type server struct {
	Deps
	options Options
	log     *slog.Logger
	routes  []route

	queueSeen *shared[queueSeen]
	figures   *shared[delivery.Statistics]
	lists     *shared[delivery.Page]

	probes      probes
	largeBodies chan struct{} // a value for each request with one
	complained  atomic.Int64  // the second in which a lost audit row was last told
	notReady    atomic.Int64  // the minute in which readiness last failed and was logged
	unreadable  unreadable    // proxies whose claims cannot be read
	workerSeen  atomic.Int64  // when the queue last showed a worker, in milliseconds since 1970
}

// New returns the API. A route that declares no right or no role is a mistake in this program: New panics.
func New(d Deps, o Options) http.Handler {
	if o.Version == "" {
		o.Version = "0"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Check == nil {
		o.Check = func(context.Context) error { return nil }
	}
	if o.Trouble == nil {
		o.Trouble = func() string { return "" }
	}
	s := &server{
		Deps:        d,
		options:     o,
		log:         o.Log.With("component", "httpapi"),
		queueSeen:   newShared[queueSeen](o.Now),
		figures:     newShared[delivery.Statistics](o.Now),
		lists:       newShared[delivery.Page](o.Now),
		largeBodies: make(chan struct{}, mostLarge),
	}
	s.probes = s.newProbes()
	s.routes = s.table()
	return s.mux()
}
