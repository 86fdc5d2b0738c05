package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// limited is a server within limits, with what became of its connections.
type limited struct {
	*httptest.Server
	clients *clients
	closed  chan struct{} // a value for each closed connection
}

// alone is networkOf without a proxy.
func alone(address string) string {
	return networkOf(func(netip.Addr) bool { return false })(address)
}

// short are limits that end within a test.
func short() Limits {
	return Limits{
		Header: 200 * time.Millisecond,
		Body:   400 * time.Millisecond,
		Answer: 200 * time.Millisecond,
		Idle:   200 * time.Millisecond,
	}.orDefault()
}

func startLimited(t *testing.T, l Limits, encrypted bool, h http.HandlerFunc) *limited {
	t.Helper()
	s := &limited{clients: newClients(l, alone, slog.New(slog.DiscardHandler)), closed: make(chan struct{}, 1000)}
	g := &drainHandler{handler: h, stop: context.WithoutCancel(t.Context()), clients: s.clients}
	s.Server = httptest.NewUnstartedServer(g)
	s.Server.Listener = admitting{s.Server.Listener, s.clients}
	config := l.server(g)
	config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	config.ConnState = func(c net.Conn, state http.ConnState) {
		s.clients.follow(c, state)
		if state == http.StateClosed {
			s.closed <- struct{}{}
		}
	}
	s.Config = config
	if encrypted {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// dial opens a connection and sends what is given.
func (s *limited) dial(t *testing.T, sent string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	return c
}

// wantClosed waits until n connections are closed.
func (s *limited) wantClosed(t *testing.T, n int, what string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for range n {
		select {
		case <-s.closed:
		case <-late:
			t.Fatalf("%s: %d connections are still open", what, s.clients.count())
		}
	}
	if left := s.clients.count(); left != 0 {
		t.Errorf("%s: %d connections count as open", what, left)
	}
}

func TestClientsThatReadNothingAreGone(t *testing.T) {
	t.Parallel()
	page := bytes.Repeat([]byte("x"), 8<<10)
	s := startLimited(t, short(), false, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(page) //nolint:errcheck // the client may be gone
	})
	const n = 20
	for range n {
		c := s.dial(t, "")
		go func() { // until the server takes no more
			for {
				if _, err := io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 100)); err != nil {
					return
				}
			}
		}()
	}
	s.wantClosed(t, n, "clients that read nothing")
}

// Over HTTP/2 a client can read what concerns the connection and nothing of the answer.
func TestStreamThatIsNotReadIsGone(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	l := short()
	l.Header = 30 * time.Second // also bounds the TLS handshake, which takes long on a busy machine
	s := startLimited(t, l, true, func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for begun := time.Now(); err == nil && time.Since(begun) < time.Minute; {
			_, err = w.Write(make([]byte, 4<<10))
		}
		ended <- err
	})
	transport := &http.Transport{
		TLSClientConfig:   s.Client().Transport.(*http.Transport).TLSClientConfig,
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
	}
	t.Cleanup(transport.CloseIdleConnections)
	answer, err := (&http.Client{Transport: transport}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.ProtoMajor != 2 {
		t.Fatalf("the answer came by %s", answer.Proto)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the answer was written for a minute")
		}
	case <-time.After(30 * time.Second):
		t.Error("the answer waits for its client without end")
	}
}

// An answer that takes long to make, and is then taken in time, leaves.
func TestSlowHandlerIsAnsweredAllTheSame(t *testing.T) {
	t.Parallel()
	l := short()
	l.Header = 30 * time.Second
	s := startLimited(t, l, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-time.After(2 * (l.Body + l.Answer))
		}
		io.WriteString(w, "answered") //nolint:errcheck // told by the client
	})
	for _, path := range []string{"/", "/slow", "/"} { // on one connection
		answer, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(body) != "answered" {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
}

func TestSlowWritersAreGone(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"nothing": "", "half a header": "GET / HTTP/1.1\r\nHost: a\r\n",
		"no body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
		"idle":    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startLimited(t, short(), false, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) //nolint:errcheck // it ends by its time
				io.WriteString(w, "ok")     //nolint:errcheck // likewise
			})
			s.dial(t, sent)
			s.wantClosed(t, 1, name)
		})
	}
}

func TestHalfOpenHandshakesAreGone(t *testing.T) {
	t.Parallel()
	s := startLimited(t, short(), true, func(http.ResponseWriter, *http.Request) {})
	s.dial(t, "")
	s.dial(t, "\x16\x03\x01\x02\x00") // the header of a ClientHello
	s.wantClosed(t, 2, "half-open handshakes")
}

func TestHeaderThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	s := startLimited(t, Limits{}.orDefault(), false, func(http.ResponseWriter, *http.Request) {})
	c := s.dial(t, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", mostHeader+8<<10)+"\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("answer: %q, %v", line, err)
	}
}

// The server tells its client how many requests it takes at once (RFC 9113 section 6.5.2), and net/http holds it to
// that.
func TestStreamsOfOneConnectionAreBounded(t *testing.T) {
	t.Parallel()
	s := startLimited(t, Limits{}.orDefault(), true, func(http.ResponseWriter, *http.Request) {})
	trust := s.Client().Transport.(*http.Transport).TLSClientConfig
	config := &tls.Config{RootCAs: trust.RootCAs, ServerName: "example.com", NextProtos: []string{"h2"}}
	c, err := tls.Dial("tcp", s.Listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 9)
	if _, err := io.ReadFull(c, header); err != nil || header[3] != 4 {
		t.Fatalf("the first frame is no SETTINGS: %v, %v", header, err)
	}
	settings := make([]byte, int(header[1])<<8|int(header[2]))
	if _, err := io.ReadFull(c, settings); err != nil {
		t.Fatal(err)
	}
	const maxConcurrentStreams = 3
	for ; len(settings) >= 6; settings = settings[6:] {
		if binary.BigEndian.Uint16(settings) == maxConcurrentStreams {
			if n := binary.BigEndian.Uint32(settings[2:]); n != mostStreams {
				t.Errorf("the server takes %d requests at once on a connection, want %d", n, mostStreams)
			}
			return
		}
	}
	t.Error("the server names no bound of streams")
}

// An event stream has deadlines of its own, over HTTP/1.1 and HTTP/2 alike.
func TestStreamWithItsOwnDeadlinesOutlivesTheLimit(t *testing.T) {
	t.Parallel()
	l := short()
	l.Header, l.Body, l.Answer = time.Minute, time.Second, time.Second // a busy machine takes its time for the begin
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprint("encrypted ", encrypted), func(t *testing.T) {
			t.Parallel()
			s := startLimited(t, l, encrypted, func(w http.ResponseWriter, _ *http.Request) {
				control := http.NewResponseController(w)
				for _, part := range []string{"first ", "second ", "third"} {
					control.SetWriteDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // the client tells
					io.WriteString(w, part)                               //nolint:errcheck // likewise
					control.Flush()                                       //nolint:errcheck // likewise
					control.SetWriteDeadline(time.Time{})                 //nolint:errcheck // likewise
					if part != "third" {
						<-time.After(l.Body + l.Answer)
					}
				}
			})
			answer, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || string(got) != "first second third" {
				t.Errorf("%s: %q, %v", answer.Proto, got, err)
			}
		})
	}
}

// from is a connection from an address.
type from struct {
	net.Conn
	address string
	closed  bool
}

func (f *from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.address))
}
func (f *from) Close() error { f.closed = true; return nil }

func TestConnectionsAreBoundedByNetworkAndInAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proxy := netip.MustParseAddr("203.0.113.1")
		var log bytes.Buffer
		named := networkOf(func(at netip.Addr) bool { return at == proxy })
		c := newClients(Limits{Connections: 10, OfNetwork: 3}.orDefault(), named,
			slog.New(slog.NewTextHandler(&log, nil)))
		admit := func(address string) *connection {
			time.Sleep(time.Millisecond) // so that one has been idle for longest
			return c.admit(&from{address: address})
		}
		var own []*connection
		for n := range 3 {
			own = append(own, admit(fmt.Sprintf("[2001:db8::%x]:1000", n)))
		}
		c.follow(own[0], http.StateActive)
		if admit("[2001:db8::ff]:1000") == nil || own[0].Conn.(*from).closed || !own[1].Conn.(*from).closed {
			t.Error("the connection that was idle for longest did not make room")
		}
		for one := range c.connections {
			c.follow(one, http.StateActive)
		}
		for range 5 {
			if admit("[2001:db8::ff]:1000") != nil {
				t.Error("a fourth busy connection of a network was let in")
			}
		}
		if n := strings.Count(log.String(), "connections refused"); n != 1 {
			t.Errorf("five refusals in a second are logged %d times", n)
		}
		for range 7 {
			if admit("127.0.0.1:1000") == nil || c.count() > 10 {
				t.Fatalf("loopback has a limit of its own, or %d connections are open", c.count())
			}
		}
		for one := range c.connections {
			c.follow(one, http.StateActive)
		}
		if admit("203.0.113.1:1000") != nil || admit("192.0.2.1:1000") != nil {
			t.Error("an eleventh busy connection was let in")
		}
		for one := range c.connections {
			one.Close() //nolint:errcheck // a stand-in
			one.Close() //nolint:errcheck // as net/http does
		}
		if c.count() != 0 || len(c.of) != 0 {
			t.Errorf("%d connections, %d networks are kept", c.count(), len(c.of))
		}
		for range 10 {
			if admit("203.0.113.1:1000") == nil {
				t.Fatal("a named proxy has the limit of one client")
			}
		}
	})
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	leave := make(chan struct{})
	g := &drainHandler{
		handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-leave }),
		stop:    context.WithoutCancel(t.Context()),
		clients: newClients(Limits{Requests: 5, OfNetwork: 2}.orDefault(), alone, slog.New(slog.DiscardHandler)),
	}
	ask := func(address string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = address
		g.ServeHTTP(w, r)
		return w
	}
	var all sync.WaitGroup
	for _, address := range []string{"192.0.2.1:1", "192.0.2.1:2", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"} {
		all.Go(func() { ask(address) })
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		g.clients.mu.Lock()
		n := g.clients.requests
		g.clients.mu.Unlock()
		if n == 5 {
			break
		}
	}
	for _, address := range []string{"192.0.2.1:3", "198.51.100.1:1", "127.0.0.1:4"} {
		w := ask(address)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
			!strings.Contains(w.Body.String(), "5003") {
			t.Errorf("%s: %d %s", address, w.Code, w.Body)
		}
	}
	close(leave)
	all.Wait()
	if w := ask("192.0.2.1:3"); w.Code != http.StatusOK || len(g.clients.of) != 0 {
		t.Errorf("afterwards: %d, %d networks are kept", w.Code, len(g.clients.of))
	}
}

func TestConnectionsStayWithinTheOpenFiles(t *testing.T) {
	t.Parallel()
	full := Limits{}.orDefault()
	for files, want := range map[uint64]Limits{
		math.MaxUint64: {Connections: 4096, OfNetwork: 256},
		4352:           {Connections: 4096, OfNetwork: 256},
		4351:           {Connections: 4095, OfNetwork: 256},
		1024:           {Connections: 768, OfNetwork: 256},
		100:            {Connections: 75, OfNetwork: 25},
		0:              {Connections: 1, OfNetwork: 1},
	} {
		l := full.withinFiles(files)
		if l.Connections != want.Connections || l.OfNetwork != want.OfNetwork || l.Requests != full.Requests {
			t.Errorf("with %d files: %+v", files, l)
		}
	}
}
