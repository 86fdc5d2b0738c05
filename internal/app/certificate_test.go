package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The certificate ends 20 days after the start: from the 14th day before its end on there is one line a day, and ERROR ones after it.
func TestExpiryIsToldOnceADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Certificate{certFile: "cert.pem", now: time.Now}
		c.pair.Store(&tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Now().Add(20 * 24 * time.Hour)}})
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.warn(ctx, slog.New(slog.NewTextHandler(&out, nil)))
		}()
		time.Sleep(6*24*time.Hour - time.Minute)
		synctest.Wait()
		if out.Len() > 0 {
			t.Errorf("told too early: %s", &out)
		}
		time.Sleep(14 * 24 * time.Hour)
		synctest.Wait()
		if n := strings.Count(out.String(), "level=WARN msg=\"certificate expires soon\""); n != 14 {
			t.Errorf("%d warnings in 14 days:\n%s", n, &out)
		}
		out.Reset()
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if n := strings.Count(out.String(), "level=ERROR msg=\"certificate has expired"); n != 2 {
			t.Errorf("%d errors in two days:\n%s", n, &out)
		}
		cancel()
		<-ended
	})
}
