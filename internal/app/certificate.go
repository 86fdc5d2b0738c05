package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"otpost/internal/config"
)

const (
	expiresSoon      = 14 * 24 * time.Hour // the log warns from then on
	checkExpiryEvery = time.Hour           // interval between two checks
	warnOfExpiry     = 24 * time.Hour      // minimum interval between two warnings
	dateOfExpiry     = "2 January 2006 15:04 MST"
	secureVersion    = tls.VersionTLS12
)

// Certificate is the server's certificate with its chain and its key, from two PEM files. Reload
// reads them again. It is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	now               func() time.Time
	pair              atomic.Pointer[tls.Certificate]
}

// OpenCertificate reads a pair of PEM files: the certificate, followed by its chain, and its key,
// which other users must not be able to read. A pair that does not match, is not valid yet or has
// expired is refused with a sentence.
func OpenCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, now: time.Now}
	return c, c.Reload()
}

// Reload reads the files again. On an error the old pair stays in use.
func (c *Certificate) Reload() error {
	if err := config.CheckKeyFile(c.keyFile); err != nil {
		return aboutFile("key", c.keyFile, err)
	}
	chain, err := os.ReadFile(c.certFile)
	if err != nil {
		return aboutFile("certificate", c.certFile, err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return aboutFile("key", c.keyFile, err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("certificate %s and key %s cannot be used: %s", c.certFile, c.keyFile,
			strings.TrimPrefix(err.Error(), "tls: "))
	}
	now := c.now()
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate %s has expired on %s: get a new one", c.certFile,
			leaf.NotAfter.UTC().Format(dateOfExpiry))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate %s is not valid before %s: is the clock of this host right?", c.certFile,
			leaf.NotBefore.UTC().Format(dateOfExpiry))
	}
	c.pair.Store(&pair)
	return nil
}

// aboutFile returns an error about a file of the pair as a sentence.
func aboutFile(what, name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s %s: %w", what, name, path.Err)
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}

// Describe returns the name and the end of the certificate.
func (c *Certificate) Describe() string {
	leaf := c.leaf()
	name := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		name = strings.Join(leaf.DNSNames, ", ")
	}
	return fmt.Sprintf("%s, until %s", name, leaf.NotAfter.UTC().Format(dateOfExpiry))
}

func (c *Certificate) leaf() *x509.Certificate { return c.pair.Load().Leaf }

// tls returns the settings of the listener: TLS 1.2 or later, with the pair that was read last.
func (c *Certificate) tls() *tls.Config {
	return &tls.Config{
		MinVersion:     secureVersion,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}

// warn logs once a day from 14 days before the certificate's end on, until ctx ends.
func (c *Certificate) warn(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(checkExpiryEvery)
	defer tick.Stop()
	var last time.Time
	for {
		now, end := c.now(), c.leaf().NotAfter
		if left := end.Sub(now); left < expiresSoon && now.Sub(last) >= warnOfExpiry {
			last = now
			c.tell(log, left, end)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *Certificate) tell(log *slog.Logger, left time.Duration, end time.Time) {
	if left <= 0 {
		log.Error("certificate has expired, clients refuse to connect", "file", c.certFile, "expired", end)
		return
	}
	log.Warn("certificate expires soon", "file", c.certFile, "expires", end, "days", int(left/(24*time.Hour)))
}
