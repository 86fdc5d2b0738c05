package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// logged is a log that is read while it is written.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(line)
}

// since returns what was written since the last call.
func (l *logged) since() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.out.Reset()
	return l.out.String()
}

// The certificate ends 20 days after the start: from the 14th day before its end on there is one
// line a day, and ERROR ones after it.
func TestExpiryIsToldOnceADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Certificate{certFile: "cert.pem", now: time.Now}
		c.pair.Store(&tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Now().Add(20 * 24 * time.Hour)}})
		var log logged
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.warn(ctx, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		time.Sleep(6*24*time.Hour - time.Minute)
		synctest.Wait()
		if early := log.since(); early != "" {
			t.Errorf("logged too early: %s", early)
		}
		time.Sleep(14 * 24 * time.Hour)
		synctest.Wait()
		text := log.since()
		if n := strings.Count(text, "level=WARN msg=\"certificate expires soon\""); n != 14 {
			t.Errorf("%d warnings in 14 days:\n%s", n, text)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		text = log.since()
		if n := strings.Count(text, "level=ERROR msg=\"certificate has expired"); n != 2 {
			t.Errorf("%d errors in two days:\n%s", n, text)
		}
		cancel()
		<-ended
	})
}
