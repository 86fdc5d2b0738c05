package smtp_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"otpost/internal/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// step is what the scripted server waits for and what it answers. want is a prefix of a line; "."
// is a whole content with its dot; "" waits for nothing. reply is written unchanged; hangUp closes,
// silent says nothing more.
type step struct{ want, reply string }

const (
	hangUp = "<close>"
	silent = "<silence>"
	toTLS  = "<tls>" // 220, then the handshake
)

// script is a server that follows its steps once.
type script struct {
	t        *testing.T
	listener net.Listener
	tls      *tls.Config
	done     chan struct{}

	mu    sync.Mutex
	lines []string // what came, a content as one
}

func play(t *testing.T, config *tls.Config, steps ...step) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, listener: l, tls: config, done: make(chan struct{})}
	go s.run(steps)
	t.Cleanup(func() {
		l.Close()
		<-s.done
	})
	return s
}

func (s *script) run(steps []step) {
	defer close(s.done)
	c, err := s.listener.Accept()
	if err != nil {
		return
	}
	defer func() { c.Close() }()
	s.listener.Close() // it takes one connection
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	for _, st := range steps {
		if !s.expect(r, st.want) {
			return
		}
		switch st.reply {
		case hangUp:
			return
		case silent:
			r.WriteTo(&nothing{}) // until the client goes
			return
		case toTLS:
			if st.want != "" {
				c.Write([]byte("220 go ahead\r\n"))
			}
			c = tls.Server(c, s.tls)
			r = bufio.NewReader(c)
		default:
			c.Write([]byte(st.reply))
		}
	}
	for { // what comes behind the script is only noted
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		s.note(line)
	}
}

type nothing struct{}

func (*nothing) Write(p []byte) (int, error) { return len(p), nil }

func (s *script) expect(r *bufio.Reader, want string) bool {
	if want == "" {
		return true
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return false
	}
	if want == "." {
		all := line
		for !strings.HasSuffix(all, "\r\n.\r\n") {
			if line, err = r.ReadString('\n'); err != nil {
				return false
			}
			all += line
		}
		s.note(all)
		return true
	}
	s.note(line)
	if !strings.HasPrefix(line, want) {
		s.t.Errorf("server got %q, want %q", line, want)
	}
	return true
}

func (s *script) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

// got returns what came, once the connection has ended.
func (s *script) got() string {
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "")
}

// options lead to the script under the name mail.example, at an address of loopback.
func (s *script) options() smtp.Options {
	return smtp.Options{
		Host:     "mail.example",
		Port:     25,
		EHLOName: "client.example",
		Timeout:  5 * time.Second,
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.listener.Addr().String())
		},
	}
}

// journal records its calls and returns the configured errors.
type journal struct {
	events     *events
	noEnvelope error
	noDot      error
	beforeDot  func()
}

func (j journal) BeforeWrite(_ context.Context, w smtp.Write) error {
	if !w.Dot {
		j.events.add("envelope " + w.ID)
		return j.noEnvelope
	}
	j.events.add("dot " + w.ID)
	if j.beforeDot != nil {
		j.beforeDot()
	}
	return j.noDot
}

// events is one order of what journal and connection saw.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(s string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
}

func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all
}

// watched records the writes on a connection in events, and can fail a write after a number of
// bytes.
type watched struct {
	net.Conn
	events *events
	fail   func(p []byte) (int, error) // nil, or (0, nil): pass on
}

func (w watched) Write(p []byte) (int, error) {
	w.events.add("write " + strings.SplitN(string(p), "\r\n", 2)[0])
	if w.fail != nil {
		if n, err := w.fail(p); err != nil {
			return n, err
		}
	}
	return w.Conn.Write(p)
}

func message(j smtp.Journal) smtp.Message {
	return smtp.Message{
		ID:       "m1",
		From:     "pi@example.com",
		To:       "alice@example.com",
		Content:  []byte("Subject: x\r\n\r\nbody\r\n"),
		Journal:  j,
		NotAfter: time.Now().Add(time.Minute),
	}
}

// Beginnings and ends that many scripts share.
var (
	greeting = step{"", "220 mail.example ESMTP\r\n"}
	ehlo     = step{"EHLO client.example", "250-mail.example\r\n250 ENHANCEDSTATUSCODES\r\n"}
	mailOK   = step{"MAIL FROM:<pi@example.com>", "250 2.1.0 ok\r\n"}
	rcptOK   = step{"RCPT TO:<alice@example.com>", "250 2.1.5 ok\r\n"}
	dataOK   = step{"DATA", "354 go\r\n"}
	dotOK    = step{".", "250 2.0.0 queued as 4711\r\n"}
)

func join(parts ...any) []step {
	var all []step
	for _, p := range parts {
		switch p := p.(type) {
		case step:
			all = append(all, p)
		case []step:
			all = append(all, p...)
		}
	}
	return all
}
