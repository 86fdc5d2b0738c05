package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"otpost/internal/app"
	"otpost/internal/queue"
)

// benchCommand measures a separate queue. Each verb prints one line of JSON (docs/performance.md).
type benchCommand struct {
	Reset   benchReset   `cmd:"" help:"Empty the measured queue. It is no queue of an installation."`
	Produce benchProduce `cmd:"" help:"Enqueue N jobs and print how long that took."`
	Consume benchConsume `cmd:"" help:"Run a worker until N jobs are done, and print how long that took."`
	Latency benchLatency `cmd:"" help:"Enqueue N jobs beside an idle worker, and print how long each waited for its handler."`
}

// benchFlags are the flags of all verbs. The environment variables have the names of the harness
// that measures further queues.
type benchFlags struct {
	Driver       string `enum:"embedded,embedded-normal,redis" default:"embedded" env:"OURS_DRIVER" placeholder:"NAME" help:"embedded, redis, or embedded-normal: jobs are stored without a flush to the disk (synchronous=NORMAL)."`
	RedisAddress string `env:"REDIS_ADDR" default:"127.0.0.1:6379" placeholder:"HOST:PORT" help:"Where Redis is."`
	SqlitePath   string `env:"SQLITE_PATH" default:"/tmp/otpost-bench" placeholder:"STEM" help:"What the name of the database file begins with."`
	Workdir      string `env:"WORKDIR" placeholder:"FOLDER" help:"Where the workers' locks lie. Default: beside the database."`

	N            int    `default:"20000" help:"Jobs."`
	Mode         string `enum:"single,bulk,commit" default:"single" help:"single: one call at a time; bulk: calls of --batch jobs; commit: no jobs, but as many durable commits of one row."`
	Batch        int    `default:"1000" help:"Jobs in a call of --mode bulk."`
	Callers      int    `default:"1" help:"Concurrent callers of --mode single."`
	SleepMS      int    `name:"sleep-ms" help:"How long the handler of each job sleeps."`
	IntervalMS   int    `name:"interval-ms" help:"Pause between two calls, on a fixed grid."`
	PayloadBytes int    `default:"100" help:"Padding in the payload."`
	Concurrency  int    `default:"16" help:"Handlers."`
	Record       string `placeholder:"FILE" help:"Append a line at the start and at the end of each handler."`
	TimeoutS     int    `name:"timeout-s" default:"120" help:"Seconds after which a worker gives up and prints what it has reached."`
}

// open opens the measured queue.
func (f *benchFlags) open(ctx context.Context, s streams, reset bool) (*app.Bench, error) {
	folder := f.Workdir
	if folder == "" {
		folder = filepath.Dir(f.SqlitePath)
	}
	return app.OpenBench(ctx, app.BenchOptions{
		Driver:  f.Driver,
		Redis:   f.RedisAddress,
		Path:    f.SqlitePath + "-otpost.db",
		LockDir: folder,
		Reset:   reset,
		Log:     app.NewLog(s.err, slog.LevelError),
	})
}

type benchReset struct{ benchFlags }

// Run implements the command.
func (c *benchReset) Run(ctx context.Context, s streams) error {
	b, err := c.open(ctx, s, true)
	if err != nil {
		return err
	}
	return errors.Join(b.Close(), printLine(s.out, struct {
		OK bool `json:"ok"`
	}{true}))
}

// benchKind is the kind of the measured jobs.
const benchKind = "bench"

// benchPayload is the payload of a job.
type benchPayload struct {
	I int    `json:"i"`
	T int64  `json:"t"` // when its enqueuing began, in nanoseconds of Unix time
	S int    `json:"s"` // how many milliseconds its handler sleeps
	P string `json:"p"` // padding
}

// job returns the job of a number. It is made just before the call that stores it.
func (f *benchFlags) job(i int) queue.Job {
	body, err := json.Marshal(benchPayload{i, time.Now().UnixNano(), f.SleepMS, strings.Repeat("x", f.PayloadBytes)})
	if err != nil {
		panic(err) // numbers and a string always marshal
	}
	return queue.Job{ID: uuid.Must(uuid.NewV7()), Kind: benchKind, Payload: body}
}

type benchProduce struct{ benchFlags }

// Run implements the command.
func (c *benchProduce) Run(ctx context.Context, s streams) error {
	b, err := c.open(ctx, s, false)
	if err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // the jobs are committed
	if c.Mode == "commit" && b.Commit == nil {
		return printLine(s.out, struct {
			N           int  `json:"n"`
			Unsupported bool `json:"unsupported"`
		}{0, true})
	}
	begun := time.Now()
	if err := c.produce(ctx, b); err != nil {
		return err
	}
	return printLine(s.out, rateOf(c.N, time.Since(begun)))
}

func (c *benchProduce) produce(ctx context.Context, b *app.Bench) error {
	if c.Mode == "bulk" {
		for at := 0; at < c.N; {
			jobs := make([]queue.Job, 0, c.Batch)
			for ; len(jobs) < max(c.Batch, 1) && at < c.N; at++ {
				jobs = append(jobs, c.job(at))
			}
			if err := b.Enqueue(ctx, jobs...); err != nil {
				return err
			}
		}
		return nil
	}
	var callers sync.WaitGroup
	errs := make([]error, max(c.Callers, 1))
	for caller := range errs {
		callers.Go(func() {
			for at := caller; at < c.N && errs[caller] == nil; at += len(errs) {
				errs[caller] = c.call(ctx, b, at)
			}
		})
	}
	callers.Wait()
	return errors.Join(errs...)
}

// call makes one call, and waits for the next point of the grid.
func (f *benchFlags) call(ctx context.Context, b *app.Bench, at int) error {
	if f.Mode == "commit" {
		return b.Commit(ctx)
	}
	if f.IntervalMS <= 0 { // no timer in the measured path
		return b.Enqueue(ctx, f.job(at))
	}
	next := time.After(time.Duration(f.IntervalMS) * time.Millisecond)
	err := b.Enqueue(ctx, f.job(at))
	<-next
	return err
}

// benchRate is the output of produce and consume.
type benchRate struct {
	N       int     `json:"n"`
	Seconds float64 `json:"seconds"`
	PerS    float64 `json:"per_s"`
}

func rateOf(n int, took time.Duration) benchRate {
	return benchRate{n, took.Seconds(), float64(n) / max(took.Seconds(), 1e-9)}
}

func printLine(w io.Writer, value any) error { return json.NewEncoder(w).Encode(value) }
