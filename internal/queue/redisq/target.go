package redisq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"otpost/internal/queue"
)

// target is a URL made into a connection.
type target struct {
	address  string // for people: without user and password
	unix     bool   // it is the path of a socket
	option   rueidis.ClientOption
	callTime time.Duration // of a script call
	warnings []string      // options without effect, each with its reason
}

// The times of a connection, unless the URL gives shorter ones: within StartUntil of a lease there
// must be room for more than one call.
const (
	callTime = 3 * time.Second
	dialTime = 2 * time.Second
)

// without are options of redis-py that do nothing here, and why.
func without() map[string]string {
	const always, texts, ocsp = "the connection does that always", "otpost reads bytes", "revocation is not asked for by OCSP: use short-lived certificates"
	return map[string]string{
		"socket_keepalive": always, "health_check_interval": always, "retry_on_timeout": always, "retry_on_error": always,
		"socket_read_size": "the buffer has a fixed size", "max_connections": "a process has two connections",
		"protocol": "the client chooses it", "legacy_responses": texts, "encoding": texts, "encoding_errors": texts, "decode_responses": texts,
		"lib_name": "the client says its own name", "lib_version": "the client says its own version",
		"ssl_ciphers": "Go chooses them", "ssl_password": "an encrypted key is not read: decrypt it, or the connection fails",
		"ssl_include_verify_flags": "Go's verification is not set by flags", "ssl_exclude_verify_flags": "Go's verification is not set by flags",
		"ssl_validate_ocsp": ocsp, "ssl_validate_ocsp_stapled": ocsp, "ssl_ocsp_context": ocsp, "ssl_ocsp_expected_cert": ocsp,
	}
}

// with are the options that act.
func with() []string {
	return []string{
		"db", "username", "password", "host", "port", "path", "socket_timeout", "socket_connect_timeout", "client_name",
		"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_min_version",
	}
}

// parseURL makes a URL into a connection. It reads the files with certificates that the URL names.
func parseURL(url string) (*target, error) {
	l, err := readURL(url)
	if err != nil {
		return nil, err
	}
	t := &target{callTime: callTime, option: rueidis.ClientOption{
		Username: l.user, Password: l.password, SelectDB: l.db, ClientName: l.options["client_name"],
		ForceSingleClient: true, DisableCache: true, DisableRetry: true, PipelineMultiplex: -1,
		Dialer: net.Dialer{Timeout: dialTime, KeepAlive: time.Second},
	}}
	if err := t.name(l); err != nil {
		return nil, err
	}
	if l.db < 0 {
		return nil, urlError("the number of the database is below 0")
	}
	for name, at := range map[string]*time.Duration{"socket_timeout": &t.callTime, "socket_connect_timeout": &t.option.Dialer.Timeout} {
		if text, given := l.options[name]; given {
			seconds, err := pySeconds(text)
			if err != nil {
				return nil, urlError("option %s %w", name, err)
			}
			if *at = time.Duration(seconds * float64(time.Second)); *at > callTime {
				*at = callTime
				t.warnings = append(t.warnings, fmt.Sprintf("%s counts up to %s: a worker must renew its lease within %s",
					name, callTime, queue.StartUntil))
			}
		}
	}
	t.option.ConnWriteTimeout = max(t.callTime, time.Second)
	switch l.scheme {
	case "unix":
		t.socket(l.path)
	case "rediss":
		if t.option.TLSConfig, err = tlsConfig(l); err != nil {
			return nil, err
		}
		t.option.DialCtxFn = handshake
		fallthrough
	default:
		t.address = net.JoinHostPort(l.host, strconv.Itoa(l.port))
	}
	t.option.InitAddress = []string{t.address}
	return t, nil
}

// name refuses options that redis-py does not know for this kind of URL, and names those without
// effect.
func (t *target) name(l *location) error {
	idle, acting := without(), with()
	numbers := []string{"socket_read_size", "max_connections", "health_check_interval", "protocol"} // or redis-py refuses them
	for _, name := range slices.Sorted(maps.Keys(l.options)) {
		reason, known := idle[name]
		switch {
		case strings.HasPrefix(name, "ssl_") && l.scheme != "rediss":
			return urlError("option %q is for rediss:// only", name)
		case known && slices.Contains(numbers, name) && !isNumber(l.options[name]):
			return urlError("the value of option %s is no number", name)
		case known:
			t.warnings = append(t.warnings, name+" is without effect: "+reason)
		case !slices.Contains(acting, name), name == "path" && l.scheme != "unix", (name == "host" || name == "port") && l.scheme == "unix":
			return urlError("redis-py knows no option %q in such a URL", name)
		}
	}
	return nil
}

func isNumber(s string) bool {
	_, ok := pyInt(s)
	return ok
}

// socket makes the connection one to a Unix socket.
func (t *target) socket(path string) {
	t.address, t.unix = path, true
	t.option.DialCtxFn = func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}
}

// handshake connects with TLS. A server without it may take what it is sent for the beginning of a
// command and wait for more, so that the handshake has a time of its own.
func handshake(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
	plain, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	conn := tls.Client(plain, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close() //nolint:errcheck // err is the one to tell
		if ctx.Err() != nil {
			err = errors.Join(context.DeadlineExceeded, err)
		}
		return nil, handshakeError{err}
	}
	return conn, nil
}

// tlsConfig makes the ssl_ options of a URL into Go's. Certificates are verified against the
// system's authorities and those that the URL names, and the host's name with them, unless the URL
// says otherwise.
func tlsConfig(l *location) (*tls.Config, error) {
	c := &tls.Config{ServerName: l.host, MinVersion: tls.VersionTLS12}
	var err error
	if c.RootCAs, err = authorities(l.options); err != nil {
		return nil, err
	}
	if text, given := l.options["ssl_min_version"]; given {
		n, ok := pyInt(text)
		if !ok || n < tls.VersionTLS10 || n > tls.VersionTLS13 {
			return nil, urlError("option ssl_min_version is none of 769 (TLS 1.0) to 772 (TLS 1.3)")
		}
		c.MinVersion = uint16(n)
	}
	if file := l.options["ssl_certfile"]; file != "" {
		key := l.options["ssl_keyfile"]
		if key == "" {
			key = file
		}
		pair, err := tls.LoadX509KeyPair(file, key)
		if err != nil {
			return nil, urlError("option ssl_certfile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	} else if l.options["ssl_keyfile"] != "" {
		return nil, urlError("option ssl_keyfile wants ssl_certfile")
	}
	named := true
	if text, given := l.options["ssl_check_hostname"]; given {
		named = pyBool(text)
	}
	switch l.options["ssl_cert_reqs"] {
	case "", "required", "optional": // to a client both are one
		if !named {
			c.InsecureSkipVerify, c.VerifyConnection = true, chainOnly(c.RootCAs)
		}
	case "none":
		c.InsecureSkipVerify = true
	default:
		return nil, urlError("option ssl_cert_reqs is none of required, optional and none")
	}
	return c, nil
}

// authorities are the system's certificate authorities and those that the options name; nil: the
// system's alone.
func authorities(options map[string]string) (*x509.CertPool, error) {
	file, folder, data := options["ssl_ca_certs"], options["ssl_ca_path"], options["ssl_ca_data"]
	if file+folder+data == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if data != "" && !pool.AppendCertsFromPEM([]byte(data)) {
		return nil, urlError("option ssl_ca_data has no certificate in PEM")
	}
	if file != "" {
		pem, err := os.ReadFile(file)
		if err == nil && !pool.AppendCertsFromPEM(pem) {
			err = errors.New("the file has no certificate in PEM")
		}
		if err != nil {
			return nil, urlError("option ssl_ca_certs: %w", err)
		}
	}
	if folder == "" {
		return pool, nil
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, urlError("option ssl_ca_path: %w", err)
	}
	for _, f := range files {
		if pem, err := os.ReadFile(filepath.Join(folder, f.Name())); err == nil {
			pool.AppendCertsFromPEM(pem)
		}
	}
	return pool, nil
}

// chainOnly verifies a chain of certificates and not the name in it.
func chainOnly(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
}
