package logins

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestAgainst compares this tree with another commit. Both are installed on the same machine and measured by turns.
//
//	OTPOST_BENCH_AGAINST=4d43bac OTPOST_BENCH_LOGINS=500 go test -count=1 -v -timeout 30m -run TestAgainst ./bench/logins
//
// It prints a table with the median of the rounds, and the median of the ratios of two rounds that follow each other;
// docs/performance.md keeps it. A number without a mark is better when it is higher.
func TestAgainst(t *testing.T) {
	commit := os.Getenv("OTPOST_BENCH_AGAINST")
	if commit == "" {
		t.Skip("set OTPOST_BENCH_AGAINST to a commit to compare with")
	}
	logins := 500
	if n, err := strconv.Atoi(os.Getenv("OTPOST_BENCH_LOGINS")); err == nil && n > 0 {
		logins = n
	}
	trees := []*tree{
		{name: commit, bench: openWith(t, buildCommit(t, commit))},
		{name: "this tree", bench: open(t)},
	}
	for _, tr := range trees {
		tr.logins, tr.got = logins, map[string][]float64{}
		tr.enrol(t)
		tr.challenge(t, clients, logins) // every PIN is remembered from here on
	}
	for range rounds {
		for _, tr := range trees {
			tr.round(t)
		}
	}
	for _, tr := range trees {
		tr.calls(t)
	}
	for range rounds {
		for _, tr := range trees {
			tr.drain(t)
		}
	}
	t.Log(compare(trees, logins))
}

// rounds is how often each tree is measured: many short rounds, so that other work on the machine meets both trees.
const rounds = 7

// tree is one of the two that are compared.
type tree struct {
	*bench
	name   string
	logins int
	got    map[string][]float64 // by quantity
}

func (tr *tree) add(quantity string, value float64) {
	tr.got[quantity] = append(tr.got[quantity], value)
}

// The quantities, in the order of the table.
const (
	serverTime = "server, ms of processor a login"
	workerTime = "worker, ms of processor a mail"
	rate16     = "challenges/s, 16 connections"
	rate64     = "challenges/s, 64 connections"
	oneP50     = "answer p50 ms, one connection"
	drained    = "mails/s, draining"
	walBytes   = "WAL bytes a login"
	callsOf    = "system calls a login, server and worker"
)

// lower are the quantities that are better when they are lower.
var lower = []string{serverTime, workerTime, oneP50, walBytes, callsOf} //nolint:gochecknoglobals // a constant list

// buildCommit builds the programs of a commit in a worktree of its own.
func buildCommit(t *testing.T, commit string) e2e.Programs {
	t.Helper()
	root, err := e2e.Root()
	if err != nil {
		t.Fatal(err)
	}
	tree, dir := filepath.Join(t.TempDir(), "tree"), t.TempDir()
	run := func(in, name string, args ...string) {
		command := exec.Command(name, args...)
		command.Dir, command.Env = in, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run(root, "git", "worktree", "add", "--detach", tree, commit)
	t.Cleanup(func() { run(root, "git", "worktree", "remove", "--force", tree) })
	run(tree, "go", "build", "-o", filepath.Join(dir, "otpost"), "./cmd/otpost")
	return e2e.Programs{Dir: dir}
}

func (tr *tree) serial(i int) string { return fmt.Sprintf("C%d", i%tr.logins) }

func (tr *tree) enrol(t *testing.T) {
	t.Helper()
	each(t, tr.logins, func(_ context.Context, i int) error {
		serial := tr.serial(i)
		tr.server.Enrol(t, serial, "pin"+serial, strings.ToLower(serial)+"@example.org", "email.identifier", "queued")
		return nil
	})
}

// challenge gives n PINs over so many connections and returns the times of the answers, sorted, and that of all.
func (tr *tree) challenge(t *testing.T, connections, n int) (answers []time.Duration, took time.Duration) {
	t.Helper()
	answers = make([]time.Duration, n)
	start := time.Now()
	eachOf(t, connections, n, func(ctx context.Context, i int) error {
		serial := tr.serial(i)
		a, err := tr.server.Check(ctx, serial, "pin"+serial)
		if err == nil && a.Result.Authentication != "CHALLENGE" {
			err = fmt.Errorf("no challenge: %s", a)
		}
		answers[i] = a.Took
		return err
	})
	took = time.Since(start)
	slices.Sort(answers)
	return answers, took
}

// arrive waits until the mails of n logins have arrived and nothing of them is left to write.
func (tr *tree) arrive(t *testing.T, before, n int) {
	t.Helper()
	e2e.EventuallyIn(t, 5*time.Minute, "all mails", func() bool { return tr.sink.Count() >= before+n })
	e2e.EventuallyIn(t, time.Minute, "all outcomes", func() bool {
		return !strings.Contains(tr.server.Must(t, "GET", "/delivery/?state=sending", nil).Raw, `"sending"`)
	})
}

// round measures logins at one, 16 and 64 connections.
func (tr *tree) round(t *testing.T) {
	t.Helper()
	before := tr.sink.Count()
	const one = 150
	answers, _ := tr.challenge(t, 1, one)
	tr.arrive(t, before, one)
	tr.add(oneP50, float64(quantile(answers, 0.5))/float64(time.Millisecond))

	server, worker := processorTime(t, tr.server.PID()), processorTime(t, tr.worker.PID())
	wal := startWAL(t, filepath.Join(tr.site.Dir, "state", "otpost.db"))
	before = tr.sink.Count()
	_, took := tr.challenge(t, 16, tr.logins)
	tr.arrive(t, before, tr.logins)
	n := float64(tr.logins)
	tr.add(rate16, n/took.Seconds())
	tr.add(walBytes, float64(wal.bytes())/n)
	tr.add(serverTime, float64(processorTime(t, tr.server.PID())-server)/float64(time.Millisecond)/n)
	tr.add(workerTime, float64(processorTime(t, tr.worker.PID())-worker)/float64(time.Millisecond)/n)

	before = tr.sink.Count()
	_, took = tr.challenge(t, 64, tr.logins)
	tr.arrive(t, before, tr.logins)
	tr.add(rate64, n/took.Seconds())
}

// drain lets mails wait without a worker and measures how fast a new one sends them.
func (tr *tree) drain(t *testing.T) {
	t.Helper()
	tr.worker.Stop(t)
	before := tr.sink.Count()
	tr.challenge(t, clients, tr.logins)
	tr.worker = tr.site.Worker(t, "-w", "4")
	start := time.Now()
	tr.arrive(t, before, tr.logins)
	tr.add(drained, float64(tr.logins)/time.Since(start).Seconds())
}

var callsTotal = regexp.MustCompile(`(?m)^100\.00\s.*\stotal$`)

// calls counts the system calls of server and worker with strace, where it is installed.
func (tr *tree) calls(t *testing.T) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Log("strace is not installed: system calls are not counted")
		return
	}
	const n = 300
	var out bytes.Buffer
	count := exec.Command(strace, "-f", "-c", "-p", strconv.Itoa(tr.server.PID()), "-p", strconv.Itoa(tr.worker.PID()))
	count.Stderr = &out
	if err := count.Start(); err != nil {
		t.Fatal(err)
	}
	e2e.Eventually(t, "strace", func() bool { return traced(tr.server.PID()) && traced(tr.worker.PID()) })
	before := tr.sink.Count()
	tr.challenge(t, clients, n)
	tr.arrive(t, before, n)
	count.Process.Signal(os.Interrupt) //nolint:errcheck // Wait fails then
	count.Wait()                       //nolint:errcheck // strace ends by the signal; its table tells whether it counted
	fields := strings.Fields(callsTotal.FindString(out.String()))
	if len(fields) < 4 {
		t.Fatalf("strace has no total:\n%s", out.String())
	}
	total, err := strconv.Atoi(fields[3])
	if err != nil {
		t.Fatal(err)
	}
	tr.add(callsOf, float64(total)/n)
}

// traced reports whether a process has a tracer.
func traced(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !bytes.Contains(status, []byte("TracerPid:\t0\n"))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// compare renders the medians; [low to high] are those of the rounds. A ratio is that of two rounds side by side.
func compare(trees []*tree, logins int) string {
	var b strings.Builder
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	fmt.Fprintf(&b, "%d processors, %s, load %.4s at the end, %d logins a round\n\n", runtime.NumCPU(), runtime.Version(), load, logins)
	fmt.Fprintf(&b, "| | %s | %s | ratio |\n|---|---|---|---|\n", trees[0].name, trees[1].name)
	cell := func(values []float64) string {
		if len(values) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.3g [%.3g to %.3g]", median(values), slices.Min(values), slices.Max(values))
	}
	for _, q := range []string{serverTime, workerTime, rate16, rate64, oneP50, drained, walBytes, callsOf} {
		old, now := trees[0].got[q], trees[1].got[q]
		name := q
		if slices.Contains(lower, q) {
			name += " (lower is better)"
		}
		ratios := make([]float64, min(len(old), len(now)))
		for i := range ratios {
			ratios[i] = now[i] / max(old[i], 1e-9)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, cell(old), cell(now), cell(ratios))
	}
	return b.String()
}
