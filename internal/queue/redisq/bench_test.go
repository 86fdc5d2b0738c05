package redisq_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/internal/queue"
	"otpost/internal/queue/redisq"
)

// bench opens the queue "test" of a server for a benchmark.
func bench(b *testing.B) (*server, *redisq.Driver) {
	b.Helper()
	s := serve(b, "--appendonly", "yes")
	d, err := redisq.Open(redisq.Options{URL: s.url(), Queue: "test", LockDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	return s, d
}

func fill(b *testing.B, d queue.Driver, n int) {
	b.Helper()
	for n > 0 {
		var jobs []queue.Job
		for range min(n, 5_000) {
			jobs = append(jobs, job())
		}
		n -= len(jobs)
		if err := d.Enqueue(context.Background(), jobs...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStatus looks at a queue in which jobs wait.
func BenchmarkStatus(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			_, d := bench(b)
			fill(b, d, waiting)
			for b.Loop() {
				s, err := d.Status(context.Background())
				if err != nil || s.Ready[queue.Urgent].Jobs != waiting {
					b.Fatal(s, err)
				}
			}
		})
	}
}

func BenchmarkEnqueue(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			_, d := bench(b)
			var all sync.WaitGroup
			b.ResetTimer()
			for range callers {
				all.Go(func() {
					for range b.N / callers {
						if err := d.Enqueue(context.Background(), job()); err != nil {
							panic(err)
						}
					}
				})
			}
			all.Wait()
		})
	}
	b.Run("bulk", func(b *testing.B) {
		_, d := bench(b)
		b.ResetTimer()
		fill(b, d, b.N)
	})
}

// BenchmarkConsume claims 100 jobs at a time and reports them with the next claim.
func BenchmarkConsume(b *testing.B) {
	_, d := bench(b)
	fill(b, d, b.N)
	w := queue.Worker{ID: uuid.New()}
	if err := d.Register(context.Background(), w); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	req := queue.ClaimRequest{Worker: w.ID, Most: 100, Kinds: []string{kind}}
	for n := 0; n < b.N; {
		got, err := d.Claim(context.Background(), req)
		if err != nil {
			b.Fatal(err)
		}
		n += len(got)
		req.Done = req.Done[:0]
		for _, c := range got {
			req.Done = append(req.Done, queue.Result{ID: c.ID, Token: c.Token})
		}
	}
}

// line is a queue with jobs that wait, and how long its claims took.
type line struct {
	d      *redisq.Driver
	worker uuid.UUID
	took   []time.Duration
}

// claim claims one job, measured, and gives it back.
func (l *line) claim(b *testing.B) {
	b.Helper()
	ctx := context.Background()
	begun := time.Now()
	got, err := l.d.Claim(ctx, queue.ClaimRequest{Worker: l.worker, Most: 1, Kinds: []string{kind}})
	l.took = append(l.took, time.Since(begun))
	if err != nil || len(got) != 1 {
		b.Fatal(len(got), err)
	}
	if err := l.d.Report(ctx, l.worker, queue.Result{ID: got[0].ID, Token: got[0].Token, Action: queue.Release}); err != nil {
		b.Fatal(err)
	}
	if err := l.d.Heartbeat(ctx, l.worker); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkClaim claims one job in front of 1,000 and of 1,000,000 by turns, so that what else the
// machine does meets both. Each round is a claim of either: -benchtime=20000x.
func BenchmarkClaim(b *testing.B) {
	few, many := &line{}, &line{}
	for waiting, l := range map[int]*line{1_000: few, 1_000_000: many} {
		_, l.d = bench(b)
		fill(b, l.d, waiting)
		l.worker = uuid.New()
	}
	for _, l := range []*line{few, many} {
		if err := l.d.Register(context.Background(), queue.Worker{ID: l.worker}); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		first, second := few, many
		if i%2 == 1 {
			first, second = many, few
		}
		first.claim(b)
		second.claim(b)
	}
	us := func(l *line, percent int) float64 {
		slices.Sort(l.took)
		return float64(l.took[len(l.took)*percent/100].Nanoseconds()) / 1e3
	}
	for _, percent := range []int{50, 99} {
		b.ReportMetric(us(few, percent), fmt.Sprintf("few-p%d-us", percent))
		b.ReportMetric(us(many, percent), fmt.Sprintf("many-p%d-us", percent))
		b.ReportMetric(us(many, percent)/us(few, percent), fmt.Sprintf("p%d-ratio", percent))
	}
}
