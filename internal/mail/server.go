package mail

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"otpost/internal/secret"
)

// Server is the definition of a mail server, with privacyIDEA's fields (recorded in
// testdata/rest/smtpserver.json) and three of otpost (TLSVerify, CAFile, EHLOName). It has as many
// fields as the form.
type Server struct {
	Identifier         string
	Server             string // host name or address, or a URL smtp://host:port, smtps://host:port
	Port               int    // 0 is DefaultPort; a port in the URL wins
	Username           string // empty: no AUTH
	Password           secret.Text
	Sender             string // address or Name <address>
	TLS                bool   // STARTTLS, mandatory; with smtps:// TLS from the start
	Description        string
	Timeout            time.Duration // of each phase
	EnqueueJob         bool          // send through the job queue
	SMIME              bool
	DontSendOnError    bool
	PrivateKey         string // a path
	PrivateKeyPassword secret.Text
	Certificate        string // a path
	TLSVerify          bool   // false: accept any certificate
	CAFile             string // PEM; empty: the system's roots
	EHLOName           string // empty: this host's full name, else its address literal
}

// DefaultPort and DefaultTimeout are the defaults of a server (recorded: smtpserver.json, "list").
const (
	DefaultPort    = 25
	DefaultTimeout = 10 * time.Second
)

// Endpoint is the address of a server and its kind of TLS.
type Endpoint struct {
	Host     string
	Port     int
	Implicit bool // TLS from the first byte
}

// Address returns host:port.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// Endpoint reads the fields Server and Port. A host name may end in a dot, which excludes the
// search domains of the resolver. The error is a *Finding.
func (s Server) Endpoint() (Endpoint, error) {
	e := Endpoint{Host: strings.TrimSpace(s.Server), Port: s.Port}
	scheme, rest, ok := strings.Cut(e.Host, "://")
	if ok {
		switch strings.ToLower(scheme) {
		case "smtp":
		case "smtps":
			e.Implicit = true
		default:
			return e, found("server", "scheme", "%q is no scheme of a mail server, write smtp:// or smtps://", scheme)
		}
		host, port, err := net.SplitHostPort(strings.TrimSuffix(rest, "/"))
		switch n, notNumber := strconv.Atoi(port); {
		case err != nil: // the URL has no port
			host = strings.Trim(strings.TrimSuffix(rest, "/"), "[]")
			if e.Port == 0 || e.Port == DefaultPort { // a definition without a port was saved with the default
				e.Port = defaultPort(e.Implicit)
			}
		case notNumber != nil || n < 1:
			return e, found("server", "port_in_url", "%q is no port", port)
		default:
			e.Port = n
		}
		e.Host = host
	}
	if name, found := strings.CutSuffix(e.Host, "."); found && !strings.Contains(name, ".") {
		e.Host = name // /etc/hosts has "localhost" without a dot, and DNS does not have it
	}
	if e.Port == 0 {
		e.Port = DefaultPort
	}
	if e.Port < 1 || e.Port > 65535 {
		return e, found("port", "port", "%d is none, write 1 to 65535", e.Port)
	}
	if _, err := netip.ParseAddr(e.Host); err != nil && !isHostName(strings.TrimSuffix(e.Host, ".")) {
		return e, hostAdvice(e.Host)
	}
	return e, nil
}

// hostAdvice returns the problem of a host's name.
func hostAdvice(host string) *Finding {
	if strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return found("server", "host_ascii", "write a host name of other letters than a to z in its ASCII form, "+
			"which begins with xn--")
	}
	return found("server", "host", "write a host name or address, or smtp://host:port")
}

func defaultPort(implicit bool) int {
	if implicit {
		return 465
	}
	return DefaultPort
}

// Target returns the values to which a stored password is bound: it is used only while they are the
// same as when it was typed.
func (s Server) Target() string {
	return fmt.Sprintf("%q %d %q %t %t", s.Server, s.Port, s.Username, s.TLS, s.TLSVerify)
}

// SenderDomain returns the domain of the sender's address, for the Message-ID; otpost.invalid
// without a sender.
func (s Server) SenderDomain() string {
	_, a, err := ParseSender(s.Sender)
	if err != nil {
		return "otpost.invalid"
	}
	return a.wire
}
