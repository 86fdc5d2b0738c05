package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// PhaseTime is the duration and the end of a phase. Only Reports returns its certificates and
// texts.
type PhaseTime struct {
	Phase Phase
	MS    float64 // milliseconds
	Reply Reply   // Code 0: none came
	Err   error   // why it failed without a reply; nil: it did not fail so

	tls *handshake // of the TLS phase; nil: there was no handshake
}

// PhaseReport is a PhaseTime for administrators: its texts are scrubbed and have at most 256 bytes.
type PhaseReport struct {
	Phase    Phase      `json:"phase"`
	MS       float64    `json:"ms"`
	Code     int        `json:"code"`     // of the reply; 0: none came
	Enhanced string     `json:"enhanced"` // RFC 3463
	Text     string     `json:"text"`     // of the reply, or of the error
	TLS      *TLSReport `json:"tls"`      // of the TLS phase; null: there was no handshake
}

// TLSReport is the result of a handshake. A failed handshake leaves the fields empty that it did
// not reach.
type TLSReport struct {
	Version string `json:"version"` // such as TLS 1.3
	Cipher  string `json:"cipher"`
	// as the server sent it, the server's own first, at most 4; verified or not
	Chain []CertificateReport `json:"chain"`
}

// CertificateReport is the content of a certificate. Times are RFC 3339, UTC, with milliseconds.
type CertificateReport struct {
	Subject   string   `json:"subject"`
	Issuer    string   `json:"issuer"`
	Names     []string `json:"names"` // its hosts and addresses, at most 8
	NotBefore string   `json:"not_before"`
	NotAfter  string   `json:"not_after"`
}

const (
	longestChain = 4
	mostNames    = 8
)

// Reports returns the phases of a session without the given strings (see Scrub); never nil.
func Reports(phases []PhaseTime, remove ...string) []PhaseReport {
	s, all := newScrubber(remove), make([]PhaseReport, 0, len(phases))
	for _, p := range phases {
		r := PhaseReport{
			Phase:    p.Phase,
			MS:       p.MS,
			Code:     p.Reply.Code,
			Enhanced: s.scrub(p.Reply.Enhanced),
			Text:     s.scrub(p.Reply.text),
		}
		if r.Code == 0 && p.Err != nil {
			r.Text = s.scrub(Words(p.Err, time.Duration(p.MS*float64(time.Millisecond))))
		}
		if p.tls != nil {
			r.TLS = p.tls.report(s)
		}
		all = append(all, r)
	}
	return all
}

// Words returns a sentence for an error without the terms of Go's net package. took is the duration
// of the phase; 0: unknown.
func Words(err error, took time.Duration) string {
	var silent silentGreeting
	var network net.Error
	switch {
	case errors.As(err, &silent):
		return silent.Error()
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		if took < 100*time.Millisecond {
			return "no answer in time"
		}
		return fmt.Sprintf("no answer within %.4g s", took.Round(100*time.Millisecond).Seconds())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return "the server closed the connection"
	}
	return err.Error()
}

// silentGreeting is a connection on which no greeting came in time. Its cause is a net.Error.
type silentGreeting struct {
	within time.Duration
	error
}

// Error returns the sentence without its cause.
func (s silentGreeting) Error() string {
	return fmt.Sprintf("connected, but no greeting within %s", s.within)
}

// Unwrap returns the cause.
func (s silentGreeting) Unwrap() error { return s.error }

// handshake is the result of a TLS handshake.
type handshake struct {
	version, cipher uint16 // 0: not negotiated
	chain           []*x509.Certificate
}

// handshakeOf returns the result of a handshake that ended, with err if it failed. After a failed
// verification the certificates are those of the error.
func handshakeOf(state tls.ConnectionState, err error) *handshake {
	h := &handshake{version: state.Version, cipher: state.CipherSuite, chain: state.PeerCertificates}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		h.chain = unverified.UnverifiedCertificates
	}
	return h
}

func (h *handshake) report(s scrubber) *TLSReport {
	r := &TLSReport{Chain: []CertificateReport{}}
	if h.version != 0 {
		r.Version = tls.VersionName(h.version)
	}
	if h.cipher != 0 {
		r.Cipher = tls.CipherSuiteName(h.cipher)
	}
	for _, c := range h.chain[:min(len(h.chain), longestChain)] {
		one := CertificateReport{
			Subject:   s.scrub(c.Subject.String()),
			Issuer:    s.scrub(c.Issuer.String()),
			Names:     []string{},
			NotBefore: stamp(c.NotBefore),
			NotAfter:  stamp(c.NotAfter),
		}
		for _, name := range namesOf(c) {
			one.Names = append(one.Names, s.scrub(name))
		}
		r.Chain = append(r.Chain, one)
	}
	return r
}

// namesOf returns the first host names and addresses of a certificate.
func namesOf(c *x509.Certificate) []string {
	names := append([]string{}, c.DNSNames[:min(len(c.DNSNames), mostNames)]...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names[:min(len(names), mostNames)]
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
