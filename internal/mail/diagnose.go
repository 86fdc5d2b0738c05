package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"otpost/internal/smtp"
)

// Diagnosis says in one word what an administrator should look at; "" means that nothing is wrong. Its sentences are in
// advice.go.
type Diagnosis string

// The diagnoses, in the order of a session.
const (
	NoDNS                Diagnosis = "no_dns"
	ForbiddenAddress     Diagnosis = "forbidden_address"
	Refused              Diagnosis = "refused"
	Timeout              Diagnosis = "timeout"
	Disconnected         Diagnosis = "disconnected"
	NotSMTP              Diagnosis = "not_smtp"
	NoSTARTTLS           Diagnosis = "no_starttls"
	TLSElsewhere         Diagnosis = "tls_required_elsewhere" // TLS spoken to a port without, or the reverse
	TLSFailed            Diagnosis = "tls_failed"
	CertificateExpired   Diagnosis = "certificate_expired"
	CertificateName      Diagnosis = "certificate_name"
	CertificateUntrusted Diagnosis = "certificate_untrusted"
	AuthUnencrypted      Diagnosis = "auth_unencrypted"
	AuthUnavailable      Diagnosis = "auth_unavailable"
	AuthFailed           Diagnosis = "auth_failed"
	AuthRequired         Diagnosis = "auth_required"
	SenderRefused        Diagnosis = "sender_refused"
	RecipientRefused     Diagnosis = "recipient_refused"
	RelayDenied          Diagnosis = "relay_denied"
	Greylisted           Diagnosis = "greylisted"
	Throttled            Diagnosis = "throttled"
	TooLarge             Diagnosis = "too_large"
	MessageRefused       Diagnosis = "message_refused"
	SMIME                Diagnosis = "smime"
	TooLate              Diagnosis = "too_late"
	Internal             Diagnosis = "internal"
)

// diagnose reads the end of a session or a transaction.
func (s *Sender) diagnose(server Server, o smtp.Outcome) Diagnosis {
	switch {
	case o.Refused, o.Accepted():
		return ""
	case o.Late:
		return TooLate
	case o.Reply.Code/100 == 4, o.Reply.Code/100 == 5:
		return diagnoseReply(o.Phase, o.Reply)
	case o.Reply.Code != 0: // 2xx or 3xx where it must not be
		return NotSMTP
	case s.options.Refused(o.Err):
		return ForbiddenAddress
	}
	return diagnoseError(server, o.Phase, o.Err)
}

// diagnoseReply looks the reply up in the table: the first row that fits counts.
func diagnoseReply(phase smtp.Phase, r smtp.Reply) Diagnosis {
	code, text := strconv.Itoa(r.Code), strings.ToLower(r.Text()) // only looked at
	for _, row := range replyTable() {
		if (row.phase == "" || row.phase == phase) && strings.HasPrefix(code, row.code) && strings.HasPrefix(r.Enhanced, row.enhanced) &&
			strings.Contains(text, row.text) {
			return row.is
		}
	}
	return Internal // no reply comes here: the table ends with one row for each class
}

// replyRow is a row of the table. An empty field fits everything; code and enhanced are beginnings, text is a part of it in lower case.
type replyRow struct {
	phase          smtp.Phase
	code, enhanced string
	text           string
	is             Diagnosis
}

// replyTable reads replies by RFC 5321 section 4.2, RFC 4954 section 6, RFC 3207 section 4 and RFC 3463, and where those leave
// it open by what Postfix, Exim and Exchange say.
func replyTable() []replyRow {
	return []replyRow{
		{"", "530", "", "starttls", TLSElsewhere},
		{"", "530", "", "", AuthRequired},
		{"", "5", "5.7.57", "", AuthRequired}, // Exchange: client not authenticated
		{"", "538", "", "", AuthUnencrypted},
		{smtp.PhaseAuth, "4", "", "", AuthUnavailable},
		{smtp.PhaseAuth, "50", "", "", AuthUnavailable}, // the command or the mechanism is not known
		{smtp.PhaseAuth, "5", "", "", AuthFailed},
		{smtp.PhaseTLS, "", "", "", TLSFailed},

		{"", "", "", "greylist", Greylisted},
		{"", "", "", "graylist", Greylisted},
		{"", "451", "4.7.", "", Greylisted},
		{"", "450", "4.7.", "", Greylisted},
		{"", "450", "4.2.0", "", Greylisted},
		{"", "4", "", "", Throttled},

		{"", "5", "5.3.4", "", TooLarge},
		{"", "5", "5.2.3", "", TooLarge},
		{"", "552", "5.2.2", "", RecipientRefused}, // the mailbox is full
		{smtp.PhaseRcpt, "552", "", "", RecipientRefused},
		{"", "552", "", "", TooLarge},

		{smtp.PhaseConnect, "5", "", "", RelayDenied},
		{smtp.PhaseEHLO, "5", "", "", RelayDenied},
		{"", "5", "5.1.7", "", SenderRefused},
		{"", "5", "5.1.8", "", SenderRefused},
		{"", "5", "", "sender address", SenderRefused},
		{smtp.PhaseMail, "5", "", "", SenderRefused},
		{smtp.PhaseRcpt, "553", "5.7.", "", SenderRefused}, // not that user's address
		{smtp.PhaseRcpt, "5", "5.1.", "", RecipientRefused},
		{smtp.PhaseRcpt, "5", "5.7.", "", RelayDenied},
		{smtp.PhaseRcpt, "5", "", "relay", RelayDenied},
		{smtp.PhaseRcpt, "554", "", "", RelayDenied},
		{smtp.PhaseRcpt, "5", "", "", RecipientRefused},
		{"", "5", "", "", MessageRefused},
	}
}

// diagnoseError reads what went wrong where no reply says it.
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
	case errors.Is(err, smtp.ErrUTF8):
		return RecipientRefused
	case phase == smtp.PhaseConnect && silence(err) && speaksTLSFirst(server):
		return TLSElsewhere
	case errors.As(err, &protocol):
		return NotSMTP
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

// diagnoseTLS reads the error of a handshake.
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

// speaksTLSFirst reports whether the port is the one of RFC 8314 section 7.3, where the server waits for a handshake, and there
// was none.
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
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
