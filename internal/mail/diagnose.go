package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"

	"otpost/internal/smtp"
)

// Diagnosis is the cause of a failure, for administrators; "": no failure. The sentences are in
// advice.go.
type Diagnosis string

// The diagnoses, in the order of a session.
const (
	NoDNS                Diagnosis = "no_dns"
	ForbiddenAddress     Diagnosis = "forbidden_address"
	Refused              Diagnosis = "refused"
	Timeout              Diagnosis = "timeout"
	NoGreeting           Diagnosis = "no_greeting" // connected, but no greeting came
	Disconnected         Diagnosis = "disconnected"
	NotSMTP              Diagnosis = "not_smtp"
	HostRefused          Diagnosis = "host_refused"
	HelloRefused         Diagnosis = "hello_refused" // the name in EHLO
	NoSTARTTLS           Diagnosis = "no_starttls"
	STARTTLSRefused      Diagnosis = "starttls_refused"
	TLSRequired          Diagnosis = "tls_required"
	TLSElsewhere         Diagnosis = "tls_required_elsewhere" // TLS to a port without it, or the reverse
	TLSFailed            Diagnosis = "tls_failed"
	CertificateExpired   Diagnosis = "certificate_expired"
	CertificateName      Diagnosis = "certificate_name"
	CertificateUntrusted Diagnosis = "certificate_untrusted"
	AuthUnencrypted      Diagnosis = "auth_unencrypted"
	AuthUnavailable      Diagnosis = "auth_unavailable" // no known mechanism was announced
	AuthRefused          Diagnosis = "auth_refused"     // the mechanisms, not the password
	AuthDeferred         Diagnosis = "auth_deferred"
	AuthDisabled         Diagnosis = "auth_disabled"
	AppPassword          Diagnosis = "app_password"
	AuthFailed           Diagnosis = "auth_failed"
	AuthRequired         Diagnosis = "auth_required"
	SenderRefused        Diagnosis = "sender_refused"
	SenderUnproven       Diagnosis = "sender_unproven" // SPF, DKIM, DMARC
	RecipientRefused     Diagnosis = "recipient_refused"
	MailboxFull          Diagnosis = "mailbox_full"
	RelayDenied          Diagnosis = "relay_denied"
	Blocked              Diagnosis = "blocked" // this host's address, by its reputation
	ReverseDNS           Diagnosis = "reverse_dns"
	Greylisted           Diagnosis = "greylisted"
	RateLimited          Diagnosis = "rate_limited"
	Throttled            Diagnosis = "throttled"
	TooLarge             Diagnosis = "too_large"
	MessageRefused       Diagnosis = "message_refused"
	Deferred             Diagnosis = "deferred" // 4xx of an unknown kind
	Rejected             Diagnosis = "rejected" // 5xx of an unknown kind
	SMIME                Diagnosis = "smime"
	NoReply              Diagnosis = "no_reply" // the mail was sent and the connection closed
	NoReplyInTime        Diagnosis = "no_reply_in_time"
	TooLate              Diagnosis = "too_late"
	NoWorker             Diagnosis = "no_worker"
	SealedPassword       Diagnosis = "sealed_password" // it does not open with this key file
	SealedMail           Diagnosis = "sealed_mail"
	NoServer             Diagnosis = "no_server"
	Internal             Diagnosis = "internal"
)

// diagnose returns the diagnosis for the end of a session or a transaction.
func (s *Sender) diagnose(server Server, o smtp.Outcome) Diagnosis {
	switch {
	case o.Refused, o.Accepted():
		return ""
	case o.Late:
		return TooLate
	case o.Reply.Code/100 == 4, o.Reply.Code/100 == 5:
		return diagnoseReply(o.Phase, o.Reply)
	case o.Reply.Code != 0: // an unexpected 2xx or 3xx
		return NotSMTP
	case s.options.Refused(o.Err):
		return ForbiddenAddress
	}
	return diagnoseError(server, o.Phase, o.Err)
}

// diagnoseError returns the diagnosis for an error without a reply.
func diagnoseError(server Server, phase smtp.Phase, err error) Diagnosis {
	var protocol smtp.ProtocolError
	switch {
	case phase == smtp.PhaseDNS:
		return NoDNS
	case errors.Is(err, smtp.ErrNoSTARTTLS):
		return NoSTARTTLS
	case errors.Is(err, smtp.ErrNoAuth):
		return AuthUnavailable
	case errors.Is(err, smtp.ErrPlaintext):
		return AuthUnencrypted
	case phase == smtp.PhaseGreeting && silence(err) && speaksTLSFirst(server):
		return TLSElsewhere
	case errors.As(err, &protocol):
		return NotSMTP
	case phase == smtp.PhaseGreeting && timedOut(err):
		return NoGreeting
	case phase == smtp.PhaseReply && timedOut(err):
		return NoReplyInTime
	case phase == smtp.PhaseReply && hungUp(err):
		return NoReply
	case timedOut(err):
		return Timeout
	case phase == smtp.PhaseTLS:
		return diagnoseTLS(server, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Timeout
	case hungUp(err):
		return Disconnected
	}
	return Internal
}

// diagnoseTLS returns the diagnosis for an error of a handshake.
func diagnoseTLS(server Server, err error) Diagnosis {
	var record tls.RecordHeaderError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var unverified *tls.CertificateVerificationError
	e, _ := server.Endpoint() //nolint:errcheck // there was a connection
	switch {
	case errors.As(err, &record) && e.Implicit:
		return TLSElsewhere
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return CertificateExpired
	case errors.As(err, &name):
		return CertificateName
	case errors.As(err, &unverified):
		return CertificateUntrusted
	}
	return TLSFailed
}

// speaksTLSFirst reports whether the port is that of RFC 8314 section 7.3, where the server waits
// for a handshake, and otpost sent none.
func speaksTLSFirst(server Server) bool {
	e, err := server.Endpoint()
	return err == nil && e.Port == defaultPort(true) && !e.Implicit
}

func silence(err error) bool { return timedOut(err) || hungUp(err) }

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE,
		syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
