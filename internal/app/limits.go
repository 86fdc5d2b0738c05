package app

import (
	"cmp"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound the resources that clients can occupy. The zero value of a field means the default.
type Limits struct {
	Connections int // open connections: 4,096
	Requests    int // running requests of all connections: 4,096
	// each of the two, for one client network: 256. For loopback and named proxies only the totals
	// count
	OfNetwork int
	Header    time.Duration // for the header of a request, and for the TLS handshake: 10 s
	Body      time.Duration // for a whole request: 30 s
	Answer    time.Duration // for reading an answer, and 1 s more for each answerRate bytes: 30 s
	Idle      time.Duration // between two requests of a connection: 2 min
}

// answerRate is how many bytes of an answer a client must read per second after Limits.Answer.
const answerRate = 64 << 10

// mostHeader bounds the header of a request, in bytes; net/http adds 4 KiB.
const mostHeader = 64 << 10

// mostStreams bounds the running requests of one HTTP/2 connection. A browser has a few.
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

// withinFiles returns the limits for a number of open files. Each connection needs one. A reserve
// of 256 files, or a quarter if there are fewer than 1,024, is for the database, the logs, and the
// connections to mail servers and Redis.
func (l Limits) withinFiles(files uint64) Limits {
	most := files - min(256, files/4)
	if most >= uint64(l.Connections) {
		return l
	}
	l.Connections = max(1, int(most))
	l.OfNetwork = min(l.OfNetwork, (l.Connections+2)/3)
	return l
}

// limits returns the limits at a listener, and logs when the number of open files (RLIMIT_NOFILE)
// lowers them. The package os has raised the soft limit to the hard one.
func (a *App) limits(at Listener) Limits {
	l := at.Limits.orDefault()
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

// server returns a server for a handler within the limits. HTTP/2 has limits of its own, because
// net/http's deadlines of a connection do not reach it.
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

// timed is an answer that its client must read in time: within Limits.Answer from the first byte
// on, and the time for its length at answerRate. A handler that sets the deadline itself, as event
// streams do, keeps its own.
type timed struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
	until   time.Time // zero: no byte was written yet
	own     bool      // the handler sets the deadline
}

// newTimed returns the answer to r. Until its first byte, the deadline is for what net/http writes
// itself ("100 Continue").
func newTimed(w http.ResponseWriter, r *http.Request, l Limits) *timed {
	t := &timed{ResponseWriter: w, control: http.NewResponseController(w), within: l.Answer}
	if r.ProtoMajor == 1 {
		t.deadline(time.Now().Add(l.Body + l.Answer))
	}
	return t
}

// deadline sets the write deadline. A writer without deadlines is in memory.
func (t *timed) deadline(at time.Time) {
	t.control.SetWriteDeadline(at) //nolint:errcheck // a writer in memory has none
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

// end sets the deadline for the bytes that net/http still has to write when the handler returns.
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

// SetWriteDeadline is called by http.ResponseController.
func (t *timed) SetWriteDeadline(at time.Time) error {
	t.own = true
	return t.control.SetWriteDeadline(at)
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (t *timed) Unwrap() http.ResponseWriter { return t.ResponseWriter }
