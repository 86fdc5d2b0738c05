// Package inbox is an SMTP server that keeps what it gets.
//
// The demo shows its mails, and tests use it as a real mail server. It listens on loopback only,
// keeps everything in memory and forwards nothing. Options make it misbehave: delays, refusals, a
// connection that closes after the dot.
package inbox

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Options say how an Inbox behaves. All may stay zero.
type Options struct {
	Addr        string           // host:port on loopback; 127.0.0.1:0
	Delay       time.Duration    // before the reply to the dot
	Certificate *tls.Certificate // STARTTLS is offered with it
	Implicit    bool             // TLS from the first byte instead
	Username    string           // MAIL is refused without AUTH PLAIN or LOGIN as this user
	Password    string
	// called at each step with the recipient (at auth: the user); nil: accept all
	Refuse func(Step, string) *Refusal
	Drop   func(to string) bool // closes the connection instead of answering the dot; the message is kept
}

// Step is a step of a session at which Options.Refuse is asked.
type Step string

// The steps.
const (
	AtAuth Step = "auth"
	AtRcpt Step = "rcpt"
	AtDot  Step = "dot"
)

// Refusal is a reply of 400 to 599.
type Refusal struct {
	Code     int
	Enhanced [3]int // zero: none
	Text     string
}

// Message is a mail that was accepted.
type Message struct {
	From, EHLO string
	To         []string
	Raw        []byte // header and body as they came, dots unstuffed
	At         time.Time
	TLS        bool
	Username   string // of AUTH; empty: none
}

// Inbox is a running server. It is safe for concurrent use.
type Inbox struct {
	options  Options
	listener net.Listener
	server   *smtp.Server
	closing  chan struct{} // closed by Close
	served   chan struct{} // closed when nothing is accepted any more

	mu       sync.Mutex
	messages []Message
	arrived  chan struct{} // closed and replaced with each message
}

const (
	idleTime = time.Minute // of a connection
	mostSize = 10 << 20    // bytes of a message
)

// Open starts an inbox. It refuses an address that is not on loopback.
func Open(o Options) (*Inbox, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close() //nolint:errcheck // nothing was accepted
		return nil, fmt.Errorf("open inbox: %s is not on loopback", l.Addr())
	}
	i := &Inbox{
		options:  o,
		listener: l,
		closing:  make(chan struct{}),
		served:   make(chan struct{}),
		arrived:  make(chan struct{}),
	}
	s := smtp.NewServer(smtp.BackendFunc(i.session))
	s.Domain, s.AllowInsecureAuth, s.EnableSMTPUTF8 = "inbox.example", true, true
	s.ReadTimeout, s.WriteTimeout, s.MaxMessageBytes = idleTime, idleTime, mostSize
	s.ErrorLog = log.New(io.Discard, "", 0)
	if o.Certificate != nil {
		config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*o.Certificate}}
		if o.Implicit {
			l = tls.NewListener(l, config)
		} else {
			s.TLSConfig = config
		}
	}
	i.server = s
	go func() {
		defer close(i.served)
		s.Serve(l) //nolint:errcheck // it ends by Close
	}()
	return i, nil
}

// Addr returns host:port.
func (i *Inbox) Addr() string { return i.listener.Addr().String() }

// Port returns the port of Addr.
func (i *Inbox) Port() int { return i.listener.Addr().(*net.TCPAddr).Port }

// Close ends all connections. It is called once.
func (i *Inbox) Close() error {
	close(i.closing)
	err := i.server.Close()
	i.listener.Close() //nolint:errcheck // the server closes it too, unless it had not begun to serve
	<-i.served
	return err
}

// Messages returns the mails that were accepted so far, in order.
func (i *Inbox) Messages() []Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.messages)
}

// Wait returns the messages when there are at least n, or the error of ctx.
func (i *Inbox) Wait(ctx context.Context, n int) ([]Message, error) {
	for {
		i.mu.Lock()
		all, arrived := i.messages, i.arrived
		i.mu.Unlock()
		if len(all) >= n {
			return slices.Clone(all), nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return slices.Clone(all), fmt.Errorf("wait for mail %d, have %d: %w", n, len(all), ctx.Err())
		}
	}
}

func (i *Inbox) keep(m Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.messages = append(i.messages, m)
	close(i.arrived)
	i.arrived = make(chan struct{})
}
