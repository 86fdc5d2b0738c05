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

// BenchmarkClaim claims and reports one job in front of many.
func BenchmarkClaim(b *testing.B) {
	for _, waiting := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			_, d := bench(b)
			fill(b, d, waiting)
			w := queue.Worker{ID: uuid.New()}
			if err := d.Register(context.Background(), w); err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			b.ResetTimer()
			for range b.N {
				begun := time.Now()
				got, err := d.Claim(context.Background(), queue.ClaimRequest{Worker: w.ID, Most: 1, Kinds: []string{kind}})
				took = append(took, time.Since(begun))
				if err != nil || len(got) != 1 {
					b.Fatal(len(got), err)
				}
				if err := d.Report(context.Background(), w.ID, queue.Result{ID: got[0].ID, Token: got[0].Token, Action: queue.Release}); err != nil {
					b.Fatal(err)
				}
				if err := d.Beat(context.Background(), w.ID); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
