package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// bench is `otpost bench` with one of its drivers.
type bench struct {
	t   *testing.T
	env []string
}

// run runs a verb and returns the line of JSON that it ends with.
func (b *bench) run(args ...string) map[string]any {
	b.t.Helper()
	code, p := e2e.Run(b.t, e2e.Command{
		Path: programs.Path("otpost"),
		Args: append([]string{"bench"}, args...),
		Env:  b.env,
	})
	lines := strings.Split(strings.TrimSpace(p.Out.String()), "\n")
	var answer map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &answer); err != nil || code != 0 {
		b.t.Fatalf("bench %s: exit code %d, %v\n%s%s", strings.Join(args, " "), code, err, p.Out.String(),
			p.Err.String())
	}
	return answer
}

// did runs a verb that must say that it did n jobs.
func (b *bench) did(n float64, args ...string) map[string]any {
	b.t.Helper()
	answer := b.run(args...)
	if answer["n"] != n {
		b.t.Fatalf("bench %s: %v, want n = %v", strings.Join(args, " "), answer, n)
	}
	return answer
}

func TestBenchMeasuresEachDriver(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"embedded", "embedded-normal", "redis"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			record := filepath.Join(folder, "record")
			b := &bench{t: t, env: []string{
				"OURS_DRIVER=" + driver, "SQLITE_PATH=" + filepath.Join(folder, "db"), "WORKDIR=" + folder,
			}}
			commits := 5.0
			if driver == "redis" {
				b.env = append(b.env, "REDIS_ADDR="+e2e.NewRedis(t).Address())
				commits = 0
			}
			if answer := b.run("reset"); answer["ok"] != true {
				t.Fatalf("reset: %v", answer)
			}
			b.did(30, "produce", "--n", "30", "--callers", "3", "--payload-bytes", "7", "--sleep-ms", "1")
			if rate := b.did(30, "consume", "--n", "30", "--concurrency", "4", "--record",
				record)["per_s"]; rate == 0.0 {
				t.Fatal("30 jobs at a rate of 0")
			}
			wantRecord(t, record, 30)
			b.did(0, "consume", "--n", "1", "--timeout-s", "1") // each job was reported
			b.did(50, "produce", "--n", "50", "--mode", "bulk", "--batch", "20")
			b.run("reset")
			waits := b.did(5, "latency", "--n", "5", "--interval-ms", "2")
			if most, ok := waits["max_ms"].(float64); !ok || most < waits["p50_ms"].(float64) {
				t.Fatalf("latency: %v", waits)
			}
			b.did(commits, "produce", "--n", "5", "--mode", "commit")
		})
	}
}

// wantRecord checks that a record has a start and an end of each of n jobs.
func wantRecord(t *testing.T, name string, n int) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 4 {
			count[f[0]+f[1]]++
		}
	}
	if len(count) != 2*n || count["S0"] != 1 || count["E29"] != 1 {
		t.Fatalf("%d entries of %d jobs:\n%s", len(count), n, text)
	}
}
