// Package logins measures logins through the built programs: server, external worker and database as they are shipped, driven
// over HTTP, into a fast mail server inside the driver.
//
//	OTPOST_BENCH_LOGINS=10000 go test -count=1 -v -run TestLogins ./bench/logins
//
// prints a table; docs/performance.md keeps its numbers. Without the variable it is a short run (500) that holds the promises:
// every mail arrives once, every code is accepted, server and worker stay below 150 MiB. It writes nothing.
package logins

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"otpost/test/e2e"
)

const (
	clients   = 16 // logins at once
	slowReply = 500 * time.Millisecond
	mostMiB   = 150 // of server and worker together, at their highest
)

// bench is one installation under measurement.
type bench struct {
	site   *e2e.Site
	server *e2e.Server
	worker *e2e.Worker
	sink   *e2e.Sink
	delay  atomic.Int64 // of the mail server's answer to the dot
}

// run is one line of the table.
type run struct {
	name   string
	route  string // identifier of the SMTP server
	again  bool   // the tokens of the first run: their PINs are remembered
	delay  time.Duration
	logins int
}

// result is what a run came to. answers and mails are sorted.
type result struct {
	took            time.Duration // from the first request to the last answer
	allMails        time.Duration // from the first request to the last mail
	answers, mails  []time.Duration
	accepted        time.Duration // time for the codes of all logins
	server, workers int           // KiB at the highest so far
	cpu             time.Duration // of server and worker together, for PIN and mail
}

func TestLogins(t *testing.T) {
	logins := 500
	if n, err := strconv.Atoi(os.Getenv("OTPOST_BENCH_LOGINS")); err == nil && n > 0 {
		logins = n
	}
	b := open(t)
	runs := []run{
		{name: "queue, fast mail server", route: "queued", logins: logins},
		{name: "the same, PINs remembered", route: "queued", logins: logins, again: true},
		{name: "queue, mail server of 500 ms", route: "queued", delay: slowReply, logins: logins / 10},
		{name: "inline, fast mail server", route: "inline", logins: logins / 10},
		{name: "inline, mail server of 500 ms", route: "inline", delay: slowReply, logins: logins / 10},
	}
	results := make([]result, len(runs))
	for i, r := range runs {
		results[i] = b.measure(t, i, r)
	}
	t.Log(table(runs, results))
	if sum := (results[0].server + results[0].workers) / 1024; sum >= mostMiB {
		t.Errorf("server and worker took %d MiB at their highest, want less than %d", sum, mostMiB)
	}
}

func open(t *testing.T) *bench {
	t.Helper()
	programs, err := e2e.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return openWith(t, programs)
}

// openWith sets up an installation of these programs and starts it.
func openWith(t *testing.T, programs e2e.Programs) *bench {
	t.Helper()
	b := &bench{site: e2e.NewSite(t, programs, true), sink: e2e.NewSink(t, e2e.SinkOptions{})}
	b.sink.Use(func(stage e2e.Stage, _ e2e.Mail) error {
		if d := time.Duration(b.delay.Load()); stage == e2e.AtDot && d > 0 {
			<-time.After(d)
		}
		return nil
	})
	b.server = b.site.Serve(t, "--workers", "0")
	b.worker = b.site.Worker(t, "-w", "4")
	b.server.SMTPServer(t, "queued", b.sink.Port, map[string]any{"enqueue_job": true})
	b.server.SMTPServer(t, "inline", b.sink.Port, nil)
	b.server.Set(t, "email.identifier", "queued", "email.validtime", "600")
	return b
}

// each runs f for the numbers from 0 to n-1, in as many goroutines as there are clients.
func each(t *testing.T, n int, f func(ctx context.Context, i int) error) {
	t.Helper()
	eachOf(t, clients, n, f)
}

// eachOf is each with a number of goroutines.
func eachOf(t *testing.T, goroutines, n int, f func(ctx context.Context, i int) error) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && t.Context().Err() == nil; i = int(next.Add(1)) - 1 {
				if err := f(t.Context(), i); err != nil {
					t.Errorf("login %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// measure makes one token for each login, gives all the PINs, waits for the mails, and gives all the codes.
func (b *bench) measure(t *testing.T, number int, r run) result {
	t.Helper()
	if r.again {
		number = 0
	}
	name := func(i int) (serial, pin, address string) {
		serial = fmt.Sprintf("B%dN%d", number, i)
		return serial, "pin" + serial, strings.ToLower(serial) + "@example.org"
	}
	each(t, r.logins, func(_ context.Context, i int) error {
		if r.again {
			return nil
		}
		serial, pin, address := name(i)
		b.server.Enrol(t, serial, pin, address, "email.identifier", r.route)
		return nil
	})
	b.delay.Store(int64(r.delay))
	before := b.sink.Count()
	began := make([]time.Time, r.logins)
	transactions := make([]string, r.logins)
	var out result
	out.answers = make([]time.Duration, r.logins)
	used := b.used(t)
	start := time.Now()
	each(t, r.logins, func(ctx context.Context, i int) error {
		serial, pin, _ := name(i)
		began[i] = time.Now()
		a, err := b.server.Check(ctx, serial, pin)
		if err == nil && a.Result.Authentication != "CHALLENGE" {
			err = fmt.Errorf("no challenge: %s", a)
		}
		out.answers[i], transactions[i] = a.Took, a.Detail.TransactionID
		return err
	})
	out.took = time.Since(start)
	e2e.EventuallyIn(t, 2*time.Minute, "all mails", func() bool { return b.sink.Count() >= before+r.logins })
	out.allMails = time.Since(start)
	out.cpu = b.used(t) - used
	b.delay.Store(0)

	mails := map[string]e2e.Mail{}
	for _, m := range b.sink.Mails("")[before:] {
		if _, twice := mails[m.To]; twice {
			t.Errorf("%s got its mail twice", m.To)
		}
		mails[m.To] = m
	}
	for i := range r.logins {
		_, _, address := name(i)
		out.mails = append(out.mails, mails[address].At.Sub(began[i]))
	}
	codes := time.Now()
	each(t, r.logins, func(ctx context.Context, i int) error {
		serial, _, address := name(i)
		a, err := b.server.Check(ctx, serial, mails[address].Code(), "transaction_id", transactions[i])
		if err == nil && a.Result.Authentication != "ACCEPT" {
			err = fmt.Errorf("not accepted: %s", a)
		}
		return err
	})
	out.accepted = time.Since(codes)
	if n := b.sink.Count(); n != before+r.logins {
		t.Errorf("%d mails for %d logins", n-before, r.logins)
	}
	out.server, out.workers = highest(t, b.server.PID()), highest(t, b.worker.PID())
	slices.Sort(out.answers)
	slices.Sort(out.mails)
	return out
}

// used returns the processor time that server and worker have taken so far.
func (b *bench) used(t *testing.T) time.Duration {
	t.Helper()
	return processorTime(t, b.server.PID()) + processorTime(t, b.worker.PID())
}

// processorTime returns the processor time that a process has taken so far.
func processorTime(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux port of Go
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // from field 3 on (proc(5))
	for _, field := range fields[11:13] {                                               // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// highest returns the most memory that a process has had resident, in KiB.
func highest(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if found := highWater.FindSubmatch(status); found != nil {
		n, err = strconv.Atoi(string(found[1]))
	}
	if n == 0 || err != nil {
		t.Fatalf("process %d has no VmHWM", pid)
	}
	return n
}

// quantile returns the value below which the part q of a sorted list lies.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func table(runs []run, results []result) string {
	var b strings.Builder
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
	rate := func(n int, d time.Duration) string { return fmt.Sprintf("%.0f", float64(n)/d.Seconds()) }
	fmt.Fprintf(&b, "%d processors, %s %s/%s, %d clients\n\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, clients)
	b.WriteString("| run | logins | answers/s | mails/s | codes/s | answer p50 ms | p99 | request to mail p50 ms | p99 | CPU ms a login | server MiB | worker MiB |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, r := range runs {
		o := results[i]
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %d | %d |\n", r.name, r.logins,
			rate(r.logins, o.took), rate(r.logins, o.allMails), rate(r.logins, o.accepted),
			ms(quantile(o.answers, 0.5)), ms(quantile(o.answers, 0.99)), ms(quantile(o.mails, 0.5)), ms(quantile(o.mails, 0.99)),
			ms(o.cpu/time.Duration(r.logins)), o.server/1024, o.workers/1024)
	}
	ratio := func(what string, over, under time.Duration) {
		fmt.Fprintf(&b, "\n%s: %.2f", what, float64(over)/float64(max(under, 1)))
	}
	p99 := func(i int) time.Duration { return quantile(results[i].answers, 0.99) }
	ratio("answer p99, queue, slow mail server : fast", p99(2), p99(0))
	ratio("answer p99, fast mail server, inline : queue", p99(3), p99(0))
	ratio("answer p99, slow mail server, inline : queue", p99(4), p99(2))
	b.WriteString("\n")
	return b.String()
}
