package redisq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// A server that answers, but not as the URL says, will not do so later: that is a refusal. One that
// says nothing, or ends the connection without a word, may be a Redis that hangs or starts, or a
// proxy before one: that is ErrAway.

// A server to which no connection could be made is asked what it speaks.
const (
	askTime   = time.Second            // for one question
	greetTime = 200 * time.Millisecond // of that, for its own first words: an alert of TLS 1.3 is lost when we write before it
)

// handshakeError is why a TLS handshake failed with a server that was reached.
type handshakeError struct{ error }

// Unwrap is for package errors.
func (h handshakeError) Unwrap() error { return h.error }

// isTLSFault reports whether both sides could not agree on TLS, rather than that the connection was
// lost.
func isTLSFault(err error) bool {
	var untrusted *tls.CertificateVerificationError
	var shaking handshakeError
	switch {
	case errors.As(err, &untrusted), isAlert(err):
		return true
	case !errors.As(err, &shaking), isTimeout(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return false
	}
	var op *net.OpError
	return !errors.As(err, &op)
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}

// isAlert reports whether the server has refused to speak TLS with us. An "internal error" may
// pass.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") && !strings.Contains(op.Err.Error(), "internal error")
}

// explainTLS is explain for what isTLSFault reports.
func (d *Driver) explainTLS(err error) error {
	var untrusted *tls.CertificateVerificationError
	var otherName x509.HostnameError
	var invalid x509.CertificateInvalidError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &otherName):
		return d.refuse("its certificate is not for this name (%w): write a name that it has into PI_JOB_QUEUE_URL, or check the chain only, with ?ssl_check_hostname=no", otherName)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return d.refuse("its certificate has expired or is not valid yet (%w): renew it, or correct this host's clock; PI_JOB_QUEUE_URL wants TLS", invalid)
	case errors.As(err, &untrusted):
		return d.refuse("its certificate is not trusted (%w): name the authority in PI_JOB_QUEUE_URL, with ?ssl_ca_certs=FILE", untrusted.Err)
	case errors.As(err, &notTLS):
		return d.withoutTLS()
	case len(d.target.option.TLSConfig.Certificates) == 0 && isAlert(err):
		return d.refuse("it ends the handshake, maybe for want of a client's certificate (%w): name one in PI_JOB_QUEUE_URL, with ?ssl_certfile=FILE&ssl_keyfile=FILE, or correct its TLS settings", err)
	}
	return d.refuse("TLS with it fails (%w): correct the ssl_ options of PI_JOB_QUEUE_URL, or the TLS settings of Redis", err)
}

func (d *Driver) withoutTLS() error {
	return d.refuse("it answers, but not with TLS: write redis:// for rediss:// in PI_JOB_QUEUE_URL, or give its TLS port")
}

// diagnose is explain for a first connection that failed. What its error leaves open it asks the
// server.
func (d *Driver) diagnose(err error) error {
	var op *net.OpError
	_, told := rueidis.IsRedisErr(err)
	secure := d.target.option.TLSConfig != nil
	var notTLS tls.RecordHeaderError
	switch {
	case told, isTLSFault(err) && !errors.As(err, &notTLS), errors.As(err, &op) && op.Op == "dial", isTimeout(err) && !secure:
		return d.explain(err)
	}
	switch spoken, err2 := d.ask(); {
	case isAlert(err2) && secure:
		return d.explainTLS(err2)
	case spoken == another:
		return d.refuse("what listens there is no Redis: correct host and port in PI_JOB_QUEUE_URL")
	case spoken == redisPlain && secure:
		return d.withoutTLS()
	case spoken == someTLS && !secure:
		return d.refuse("it answers, but only with TLS: write rediss:// for redis:// in PI_JOB_QUEUE_URL, or give its port without TLS")
	}
	return d.explain(err)
}

// speech is what a server speaks.
type speech int

const (
	nothing    speech = iota // it was not heard
	redisPlain               // Redis, as we asked it
	someTLS                  // TLS, whatever may be in it
	another                  // another protocol
)

// ask asks the server what it speaks, and returns with that the error by which it ended a question.
// It is told no password.
func (d *Driver) ask() (speech, error) {
	config := d.target.option.TLSConfig
	spoken, err := d.hear(nil)
	switch {
	case d.target.unix, spoken == redisPlain, spoken == another, spoken == someTLS && config == nil:
		return spoken, err
	case config == nil:
		config = &tls.Config{InsecureSkipVerify: true} // nothing is said to it but PING
	}
	return d.hear(config)
}

// hear sends PING, with TLS unless config is nil, and tells by the answer what the server speaks.
func (d *Driver) hear(config *tls.Config) (speech, error) {
	network := "tcp"
	if d.target.unix {
		network = "unix"
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, d.target.address)
	if err != nil {
		return nothing, err
	}
	defer conn.Close() //nolint:errcheck // it was only asked
	if err := conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		return nothing, err
	}
	if config == nil {
		return converse(conn)
	}
	secure := tls.Client(conn, config)
	err = secure.HandshakeContext(ctx)
	if err != nil && !isAlert(err) {
		return nothing, err
	}
	spoken := nothing
	if err == nil {
		spoken, err = converse(secure)
	}
	if spoken != another { // Redis inside TLS is TLS
		spoken = someTLS
	}
	return spoken, err
}

// converse reads what a server says before it was asked, or else after PING.
func converse(conn net.Conn) (speech, error) {
	answer := make([]byte, 5)
	end := time.Now().Add(askTime)
	conn.SetReadDeadline(time.Now().Add(greetTime)) //nolint:errcheck // as the next
	n, err := conn.Read(answer)
	if isTimeout(err) {
		conn.SetReadDeadline(end) //nolint:errcheck // a connection that cannot be bounded fails
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
			return nothing, err
		}
		n, err = conn.Read(answer)
	}
	if err != nil {
		return nothing, err
	}
	return speechOf(answer[:n]), nil
}

// speechOf reads the beginning of an answer to PING: Redis says +PONG, or -CODE when it does not
// let us.
func speechOf(answer []byte) speech {
	switch {
	case answer[0] == '-', strings.HasPrefix("+PONG", string(answer)):
		return redisPlain
	case answer[0] == 0x15 || answer[0] == 0x16: // a record of TLS: an alert, a handshake
		return someTLS
	}
	return another
}
