package test

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"otpost/test/e2e"
)

// slowServer is a mail server that accepts connections and never completes a reply.
type slowServer struct {
	port int
	open atomic.Int32 // connections
}

// newSlowServer starts a server that is silent, or sends its greeting by a byte each 300 ms.
func newSlowServer(t *testing.T, drips bool) *slowServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowServer{port: l.Addr().(*net.TCPAddr).Port}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			go func() {
				defer s.open.Add(-1)
				defer c.Close()
				if drips {
					dripGreeting(c)
				}
				c.Read(make([]byte, 1)) //nolint:errcheck // its end is what counts
			}()
		}
	}()
	return s
}

func dripGreeting(c net.Conn) {
	for {
		for _, b := range []byte("220-slow.example is about to be ready\r\n") {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			<-time.After(300 * time.Millisecond)
		}
	}
}

// Mails of healthy servers are sent while mails of slow servers hang, also after the worker was
// killed with hanging ones. The slow servers' time-outs are longer than a test waits: nothing is
// sent because a handler becomes free.
func TestSlowMailServersHoldNoOtherMail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		on             queueKind
		servers, mails int
		drips          bool
		hang           int32 // connections at once: the servers' shares of 32 handlers
	}{
		{"a silent one", embedded, 1, 40, false, 24},
		{"one that drips", embedded, 1, 40, true, 24},
		{"three", embedded, 3, 45, false, 28},
		{"ten", embedded, 10, 60, false, 28},
		{"a silent one, jobs in Redis", inRedis, 1, 40, false, 24},
		{"ten, jobs in Redis", inRedis, 10, 60, false, 28},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, c.on, "--workers", "0")
			var all []*slowServer
			for i := range c.servers {
				all = append(all, newSlowServer(t, c.drips))
				w.server.SMTPServer(t, fmt.Sprintf("slow%d", i), all[i].port,
					map[string]any{"enqueue_job": true, "timeout": 100})
			}
			open := func() (n int32) {
				for _, s := range all {
					n += s.open.Load()
				}
				return n
			}
			worker := w.Worker(t)
			for i := range c.mails {
				w.enrol(t, fmt.Sprintf("SLOW%d", i), "email.identifier", fmt.Sprintf("slow%d", i%c.servers)).begin(t,
					w.server.Client)
			}
			e2e.Eventually(t, "their share hangs", func() bool { return open() == c.hang })
			w.healthy(t, "FIRST", 10)
			for range 2 { // the second time the hanging jobs are suspects
				worker.Kill()
				e2e.Eventually(t, "gone", func() bool { return open() == 0 })
				worker = w.Worker(t)
				e2e.Eventually(t, "in hand", func() bool { return open() >= int32(min(c.servers, 2)) })
			}
			w.healthy(t, "BESIDE", 10)
			if soak() > 0 {
				w.lowRate(t, time.Duration(soak())*time.Minute)
			}
		})
	}
}

// healthy logs in n times at the healthy server and returns the times of the mails.
func (w *world) healthy(t *testing.T, serial string, n int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range n {
		l := w.enrol(t, fmt.Sprintf("%s%d", serial, i))
		l.begin(t, w.server.Client)
		begun := time.Now()
		e2e.Eventually(t, l.serial, func() bool { _, there := w.sink.Arrived(l.address); return there })
		took = append(took, time.Since(begun).Round(time.Millisecond))
	}
	slices.Sort(took)
	t.Logf("%s: mails took p50 %s, max %s", serial, took[n/2], took[n-1])
	return took
}

// lowRate is a login a second at the first slow server, with one at the healthy server beside each.
func (w *world) lowRate(t *testing.T, length time.Duration) {
	t.Helper()
	var slow sync.WaitGroup
	var took []time.Duration
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range int(length.Seconds()) {
		<-tick.C
		l := w.enrol(t, fmt.Sprintf("DEAD%d", i), "email.identifier", "slow0")
		slow.Go(func() { l.begin(t, w.server.Client) })
		took = append(took, w.healthy(t, fmt.Sprintf("RATE%d-", i), 1)...)
	}
	slow.Wait()
	slices.Sort(took)
	t.Logf("one login a second at a slow server for %s: healthy mails took p50 %s, p99 %s, max %s", length,
		took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if p50 := took[len(took)/2]; p50 > 50*time.Millisecond {
		t.Errorf("p50 %s", p50)
	}
}
