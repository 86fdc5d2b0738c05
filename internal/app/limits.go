package app

import (
	"cmp"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what clients can hold of a server. The zero value of a field means the default.
type Limits struct {
	Connections int // open at once: 4,096
	Requests    int // under way at once, of all connections together: 4,096
	// of each of the two, from one client network: 256. Loopback and named proxies have the totals alone
	OfNetwork int
	Header    time.Duration // for the header of a request, and for the TLS handshake: 10 s
	Body      time.Duration // for a whole request: 30 s
	Answer    time.Duration // for taking an answer, and 1 s more for each answerRate of it: 30 s
	Idle      time.Duration // between two requests of a connection: 2 min
}

// answerRate is what a client must take of an answer in a second once Limits.Answer is over, in bytes.
const answerRate = 64 << 10

// mostHeader bounds the header of a request, in bytes; net/http adds 4 KiB.
const mostHeader = 64 << 10

// mostStreams bounds the requests of one HTTP/2 connection at once. A browser has a few.
const mostStreams = 64

func (l Limits) orDefault() Limits {
	return Limits{
		Connections: cmp.Or(l.Connections, 4096),
		Requests:    cmp.Or(l.Requests, 4096),
		OfNetwork:   cmp.Or(l.OfNetwork, 256),
		Header:      cmp.Or(l.Header, 10*time.Second),
		Body:        cmp.Or(l.Body, 30*time.Second),
		Answer:      cmp.Or(l.Answer, 30*time.Second),
		Idle:        cmp.Or(l.Idle, 2*time.Minute),
	}
}

// withinFiles returns the limits of a process that may have so many files open. Each connection is one. A reserve of
// 256 files, or of a quarter of fewer than 1,024, is for the database, the logs, and the connections to mail servers
// and Redis.
func (l Limits) withinFiles(files uint64) Limits {
	most := files - min(256, files/4)
	if most >= uint64(l.Connections) {
		return l
	}
	l.Connections = max(1, int(most))
	l.OfNetwork = min(l.OfNetwork, (l.Connections+2)/3)
	return l
}

// limits returns the limits at a door, and logs when the number of open files (RLIMIT_NOFILE) cuts them. The package
// os has raised the soft limit to the hard one.
func (a *App) limits(d Door) Limits {
	l := d.Limits.orDefault()
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		a.log.Warn("the limit of open files is unknown", "err", err)
		return l
	}
	cut := l.withinFiles(files.Cur)
	if cut.Connections < l.Connections {
		a.log.Warn("the limit of open files bounds the connections: "+
			"raise it with LimitNOFILE= of the systemd unit or ulimit -n",
			"connections", cut.Connections, "open_files", files.Cur, "wanted_open_files", l.Connections+256)
	}
	return cut
}

// server returns a server for a handler within the limits. HTTP/2 has its own: net/http's deadlines
// of a connection do not reach it.
func (l Limits) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: l.Header,
		ReadTimeout:       l.Body,
		IdleTimeout:       l.Idle,
		MaxHeaderBytes:    mostHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          mostStreams,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			WriteByteTimeout:              l.Answer,
			SendPingTimeout:               l.Idle / 4,
			PingTimeout:                   l.Header,
		},
	}
}

// timed is an answer that its client must take in time: Limits.Answer from the first byte on, and the time that its
// length needs at answerRate. A handler that sets the deadline itself, as event streams do, is left alone.
type timed struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
	until   time.Time // zero: nothing was written yet
	own     bool      // the handler sets the deadline
}

// newTimed returns the answer to r. Until the first byte of it, the deadline is that of what net/http writes itself
// ("100 Continue").
func newTimed(w http.ResponseWriter, r *http.Request, l Limits) *timed {
	t := &timed{ResponseWriter: w, control: http.NewResponseController(w), within: l.Answer}
	if r.ProtoMajor == 1 {
		t.deadline(time.Now().Add(l.Body + l.Answer))
	}
	return t
}

// deadline sets one. A writer without deadlines is in memory.
func (t *timed) deadline(at time.Time) {
	t.control.SetWriteDeadline(at) //nolint:errcheck // see above
}

// extend sets the deadline for n more bytes.
func (t *timed) extend(n int) {
	if t.own {
		return
	}
	if t.until.IsZero() {
		t.until = time.Now().Add(t.within)
	}
	t.until = t.until.Add(time.Duration(n) * time.Second / answerRate)
	t.deadline(t.until)
}

// end sets the deadline for what net/http still holds when the handler has returned.
func (t *timed) end() {
	if t.own || t.until.IsZero() {
		t.deadline(time.Now().Add(t.within))
	}
}

// WriteHeader implements http.ResponseWriter.
func (t *timed) WriteHeader(status int) {
	t.extend(0)
	t.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (t *timed) Write(p []byte) (int, error) {
	t.extend(len(p))
	return t.ResponseWriter.Write(p)
}

// SetWriteDeadline is what http.ResponseController calls.
func (t *timed) SetWriteDeadline(at time.Time) error {
	t.own = true
	return t.control.SetWriteDeadline(at)
}

// Unwrap gives http.ResponseController what it looks for.
func (t *timed) Unwrap() http.ResponseWriter { return t.ResponseWriter }
