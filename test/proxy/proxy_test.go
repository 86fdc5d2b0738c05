package proxy_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"otpost/test/proxy"
)

// echo answers with what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, f proxy.Faults) net.Conn {
	t.Helper()
	p, err := proxy.Open(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	p.Set(f)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		p.Close()
	})
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "0123456789"); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPassesEverythingOn(t *testing.T) {
	t.Parallel()
	c := dial(t, proxy.Faults{})
	got := make([]byte, 10)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "0123456789" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestCutsAfterSoManyBytes(t *testing.T) {
	t.Parallel()
	got, err := io.ReadAll(dial(t, proxy.Faults{CutDown: 4}))
	if string(got) != "0123" && err == nil {
		t.Fatalf("down: %q, %v", got, err)
	}
	got, _ = io.ReadAll(dial(t, proxy.Faults{CutUp: 4})) // what was passed up may or may not come back
	if !strings.HasPrefix("0123", string(got)) {
		t.Fatalf("up: %q", got)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	c := dial(t, proxy.Faults{Delay: 50 * time.Millisecond})
	if _, err := io.ReadFull(c, make([]byte, 10)); err != nil || time.Since(begun) < 100*time.Millisecond {
		t.Fatalf("both ways after %s: %v", time.Since(begun), err)
	}
}

func TestStalls(t *testing.T) {
	t.Parallel()
	for _, f := range []proxy.Faults{{Stall: true}, {StallUp: 4}, {StallDown: 4}} {
		c := dial(t, f)
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		got, err := io.ReadAll(c)
		var timeout net.Error
		if len(got) > 4 || err == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%+v: %q, %v", f, got, err)
		}
	}
}
