package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options are the settings of a session, one field each. Dial is required, and Lookup for a host
// that is a name.
type Options struct {
	Host     string // name or address; the certificate must be for it
	Port     int
	Implicit bool        // TLS from the first byte
	STARTTLS bool        // required before anything else
	TLS      *tls.Config // roots and verification; the session sets ServerName and MinVersion
	Username string      // empty: no AUTH
	Password string
	EHLOName string        // empty: the address literal of this end of the connection
	Timeout  time.Duration // of each phase; at least one millisecond
	NotAfter time.Time     // the end of every phase before the first message; zero: no end
	Memory   *Memory       // what earlier sessions learnt about servers; nil: nothing is kept
	Lookup   func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
}

// Session is an open, authenticated connection. It is for one goroutine.
type Session struct {
	c       *conn
	ext     extensions
	phases  []PhaseTime
	unwatch func() bool // ends the watch over the context
	begun   time.Time   // of the running phase
	remote  netip.Addr
	broken  bool
	notes   notes
	noAuth  *Error // the reply 503 to AUTH; nil: there was none
}

// Errors of a session before the first message.
var (
	ErrNoSTARTTLS = errors.New("the server does not offer STARTTLS")
	ErrNoAuth     = errors.New("the server offers no known way to authenticate (PLAIN, LOGIN, CRAM-MD5)")
	ErrPlaintext  = errors.New("the password would leave this host unencrypted")
)

// Open connects, tries every address of the host in turn, and authenticates. An error is an *Error
// with the phase; the session beside it is closed and has only its Phases. The end of ctx closes
// the connection.
//
// Open connects a second time if the server closes the connection at EHLO, and sends HELO then (RFC
// 1869 section 4.5). It also connects a second time if the server closes the connection after it
// refused a mechanism, and tries the other mechanisms then.
func Open(ctx context.Context, o Options) (*Session, error) {
	s, err := open(ctx, o, false)
	if err == nil || ctx.Err() != nil {
		return s, err
	}
	plain := s.closedAt(PhaseEHLO) && o.Username == "" && !o.STARTTLS
	if !plain && !(s.closedAt(PhaseAuth) && s.refusals() > 0 && o.Memory != nil) {
		return s, err
	}
	second, again := open(ctx, o, plain)
	second.phases = append(s.phases, second.phases...)
	var e *Error
	if errors.As(again, &e) && e.Reply.Code == 0 { // not better than the first
		return second, err
	}
	return second, again
}

// open is Open with one connection.
func open(ctx context.Context, o Options, plain bool) (*Session, error) {
	s := &Session{begun: time.Now(), notes: o.Memory.of(o)}
	c, err := s.connect(ctx, o)
	if err != nil {
		return s, err
	}
	if o.EHLOName == "" {
		o.EHLOName = literal(c.LocalAddr())
	}
	s.unwatch = context.AfterFunc(ctx, func() { c.Close() }) //nolint:errcheck // its reads and writes fail then
	s.c = newConn(ctx, c, o)
	if err := s.greet(o, plain); err != nil {
		s.abort()
		return s, err
	}
	return s, nil
}

// closedAt reports whether the server closed the connection in this phase, which is the last one.
func (s *Session) closedAt(p Phase) bool {
	if len(s.phases) == 0 {
		return false
	}
	last := s.phases[len(s.phases)-1]
	return last.Phase == p && hungUp(last.Err)
}

func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Phases returns duration and end of each phase so far, also of a session that did not open.
func (s *Session) Phases() []PhaseTime { return s.phases }

// end records the running phase, with its reply or error, and begins the next one.
func (s *Session) end(p Phase, r Reply, err error) {
	now := time.Now()
	t := PhaseTime{Phase: p, MS: float64(now.Sub(s.begun).Microseconds()) / 1000, Reply: r, Err: err}
	if p == PhaseTLS && s.c != nil {
		t.tls = s.c.secured
	}
	s.phases, s.begun = append(s.phases, t), now
}

// fail ends the running phase with an error. The phase gets the error's reply, not the reply of a
// command that succeeded before.
func (s *Session) fail(p Phase, err error) error {
	failure := &Error{Phase: p, Err: err}
	var e *Error
	if errors.As(err, &e) {
		failure.Reply, failure.Err = e.Reply, e.Err
	}
	s.end(p, failure.Reply, failure.Err)
	return failure
}

func (s *Session) connect(ctx context.Context, o Options) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, earlier(time.Now().Add(o.Timeout), o.NotAfter))
	defer cancel()
	addresses, err := s.resolve(ctx, o)
	if err != nil {
		return nil, s.fail(PhaseDNS, err)
	}
	var errs []error
	for i, a := range addresses {
		c, err := dialShare(ctx, o, a, len(addresses)-i)
		if err == nil {
			s.remote = a
			s.end(PhaseConnect, Reply{}, nil)
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, s.fail(PhaseConnect, errors.Join(errs...))
}

// dialShare dials one address within its share of the remaining time, so that an address without an
// answer leaves time for the remaining ones.
func dialShare(ctx context.Context, o Options, a netip.Addr, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok {
		share, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
		ctx = share
	}
	return o.Dial(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(o.Port)))
}

func (s *Session) resolve(ctx context.Context, o Options) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(o.Host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	addresses, err := o.Lookup(ctx, o.Host)
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	if err == nil && len(addresses) == 0 {
		err = errors.New("the name has no address")
	}
	if err == nil {
		s.end(PhaseDNS, Reply{}, nil)
	}
	return addresses, err
}

// greet goes from the open connection to the authenticated session.
func (s *Session) greet(o Options, plain bool) error {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		config = o.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	}
	config.ServerName = strings.TrimSuffix(o.Host, ".")
	if o.Implicit {
		if err := s.c.handshake(config); err != nil {
			return s.fail(PhaseTLS, err)
		}
		s.end(PhaseTLS, Reply{}, nil)
	}
	r, err := s.greeting()
	if err != nil {
		return s.fail(PhaseGreeting, err)
	}
	s.end(PhaseGreeting, r, nil)
	if s.ext, r, err = s.c.hello(o.EHLOName, plain); err != nil {
		return s.fail(PhaseEHLO, err)
	}
	s.end(PhaseEHLO, r, nil)
	if o.STARTTLS && !o.Implicit {
		if err := s.secure(o, config); err != nil {
			return err
		}
	}
	return s.authenticate(o)
}

// greeting reads the server's first reply.
func (s *Session) greeting() (Reply, error) {
	s.c.arm()
	r, err := s.c.only()
	var timeout net.Error
	switch {
	case errors.Is(err, errNoReply):
		err = errBadGreeting
	case errors.As(err, &timeout) && timeout.Timeout():
		err = silentGreeting{time.Since(s.begun).Round(100 * time.Millisecond), err}
	case err == nil && r.Code != 220:
		err = &Error{Reply: r}
	}
	return r, err
}

// secure sends STARTTLS and a new EHLO, whose announcements replace the earlier ones (RFC 3207
// section 4.2).
func (s *Session) secure(o Options, config *tls.Config) error {
	if _, ok := s.ext["STARTTLS"]; !ok {
		return s.fail(PhaseTLS, ErrNoSTARTTLS)
	}
	s.ext = nil
	r, err := s.c.startTLS(config)
	if err != nil {
		return s.fail(PhaseTLS, err)
	}
	s.end(PhaseTLS, r, nil)
	ext, r, err := s.c.hello(o.EHLOName, false)
	if err != nil {
		return s.fail(PhaseEHLO, err)
	}
	s.ext = ext
	s.end(PhaseEHLO, r, nil)
	return nil
}

// literal returns the address literal of an end of a connection (RFC 5321 section 4.1.3).
func literal(a net.Addr) string {
	ip := netip.IPv4Unspecified()
	if p, err := netip.ParseAddrPort(a.String()); err == nil {
		ip = p.Addr().Unmap().WithZone("")
	}
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

// Close ends the session, with QUIT where the protocol allows it. It does not wait for the answer.
func (s *Session) Close() {
	if s.c == nil {
		return
	}
	if !s.broken {
		s.c.armUntil(time.Now().Add(time.Second))
		s.c.write("QUIT") //nolint:errcheck // the connection is closed either way
	}
	s.abort()
}

// abort closes the connection without QUIT.
func (s *Session) abort() {
	s.broken = true
	s.unwatch()
	s.c.Close() //nolint:errcheck // nothing is left to be sent
}
