package test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"otpost/test/e2e"
)

// bucket is the key of the hash with the job of an id (docs/queue.md).
func bucket(t *testing.T, id string) string {
	t.Helper()
	n, err := strconv.ParseUint(id[len(id)-2:], 16, 8)
	if err != nil {
		n = 0
	}
	return fmt.Sprintf("otpost:{huey}:job:%d", n%64)
}

// jobs returns the records of all jobs by their ids.
func jobs(t *testing.T, r *e2e.Redis) map[string]string {
	t.Helper()
	all := map[string]string{}
	for n := range 64 {
		answer := r.Do(t, 0, "HGETALL", fmt.Sprintf("otpost:{huey}:job:%d", n))
		some, err := answer.AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		for id, record := range some {
			all[id] = record
		}
	}
	return all
}

// onlyJob returns the id and the record of the only job.
func onlyJob(t *testing.T, r *e2e.Redis) (id, record string) {
	t.Helper()
	e2e.Eventually(t, "one job in Redis", func() bool {
		all := jobs(t, r)
		for id, record = range all {
		}
		return len(all) == 1
	})
	return id, record
}

// kindOf returns the last field of a record's first line: the kind, and after a / the lane. It is
// "" for other texts.
func kindOf(record string) string {
	line, _, _ := strings.Cut(record, "\n")
	return line[strings.LastIndexByte(line, ' ')+1:]
}

// put writes a job by hand, ready to be claimed in the lane that its record names.
func put(t *testing.T, r *e2e.Redis, id, record string) {
	t.Helper()
	kind := kindOf(record)
	if !strings.HasPrefix(kind, "delivery.send") {
		kind = "delivery.send"
	}
	r.Do(t, 0, "HSET", bucket(t, id), id, record)
	r.Do(t, 0, "ZADD", "otpost:{huey}:ready:"+kind+":0", "1", id)
	r.Do(t, 0, "ZADD", "otpost:{huey}:mark:delivery.send", "0", "due")
}

// TestJobsWrittenByHandSendNothing writes jobs by hand: one with a later end, one of a sent mail,
// one without a mail, and rubbish. No mail is sent; a value that is not a job becomes dead and is
// logged once.
func TestJobsWrittenByHandSendNothing(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, inRedis)
	w.server.Set(t, "email.validtime", "2")
	prolonged := w.enrol(t, "PROLONGED")
	prolonged.begin(t, w.server.Client)
	id, record := onlyJob(t, w.redis)
	fields := strings.SplitN(record, " ", 6) // "1 STATE PRIO RUN_AT NOT_AFTER ..."
	fields[4] = strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
	longer := strings.Join(fields, " ")
	put(t, w.redis, id, longer)
	w.state(t, prolonged, "not_sent")

	kind := kindOf(record)
	if kind != "delivery.send/queued" { // the kind and its lane: the SMTP server
		t.Fatalf("the kind of a job is %q", kind)
	}
	stranger, rubbish := uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()
	now := time.Now().UnixMilli()
	put(t, w.redis, stranger, fmt.Sprintf("1 r 0 %d %d %d 0 0 - - delivery.send\n", now, now+3_600_000, now))
	put(t, w.redis, rubbish, "rubbish \x1b[2J\n\x00")
	put(t, w.redis, "no id at all", longer)

	worker := w.Worker(t)
	w.server.Set(t, "email.validtime", "120")
	wanted := w.enrol(t, "WANTED")
	wanted.begin(t, w.server.Client)
	w.delivered(t, wanted)
	wanted.finish(t, w.server.Client, w.oneCopy(t, wanted))
	put(t, w.redis, id, longer) // once more, to a worker that runs
	again := w.enrol(t, "AGAIN")
	worker.Stop(t)
	again.begin(t, w.server.Client)
	sent, sentJob := "", ""
	e2e.Eventually(t, "the job of a mail that will be sent", func() bool {
		for id, record := range jobs(t, w.redis) {
			// not written by hand
			if _, err := uuid.Parse(id); err == nil && id != stranger && id != rubbish &&
				strings.HasPrefix(record, "1 r ") {
				sent, sentJob = id, record
			}
		}
		return sent != ""
	})
	second := w.Worker(t)
	w.delivered(t, again)
	put(t, w.redis, sent, sentJob)
	w.settled(t)
	e2e.Eventually(t, "every job to be done, or one of the three that are marked dead", func() bool {
		return len(jobs(t, w.redis)) == 3
	})
	second.Stop(t)
	w.oneCopy(t, again)
	w.oneCopy(t, wanted)
	if n := len(w.sink.Mails(prolonged.address)); n != 0 {
		t.Errorf("%d mails came after their code's end, which somebody prolonged in Redis", n)
	}
	log := w.Read(worker.Log)
	for part, want := range map[string]int{"job without a delivery": 1, "unreadable jobs marked dead": 1, "\x1b": 0, "panic": 0} {
		if lines := e2e.LinesWith(log, part); len(lines) != want {
			t.Errorf("%q stands in %d lines of the log, want %d: %q", part, len(lines), want, lines)
		}
	}
	if !strings.Contains(log, stranger) {
		t.Errorf("the log does not name the job %s", stranger)
	}
	answer := w.redis.Do(t, 0, "HGETALL", "otpost:{huey}:why")
	why, err := answer.AsStrMap()
	if err != nil || len(why) != 3 || why[stranger] == "" || why[rubbish] == "" || why["no id at all"] == "" {
		t.Errorf("marked dead: %v, %v", why, err)
	}
}

const belongs = "another installation uses this Redis queue"

// TestRedisOfAnotherDatabaseIsRefused lets the programs of a second installation use the first one's Redis.
func TestRedisOfAnotherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, inRedis)
	other := e2e.NewRedisSite(t, programs, w.redis.URL())
	log := other.Dir + "/worker.log"
	exits(t, 1, belongs, serve(other))
	exits(t, 1, belongs, other.Otpost("worker", "--config", other.Config, "-l", log))

	// A worker that was started while Redis was away detects it later, logs it once, and claims
	// nothing.
	w.redis.Kill(t)
	late := other.Worker(t)
	w.redis.Start(t)
	l := w.enrol(t, "OURS")
	l.begin(t, w.server.Client)
	e2e.Eventually(t, "the late worker to be refused", func() bool {
		return late.Ended() || len(e2e.LinesWith(other.Read(late.Log), belongs)) > 0
	})
	w.Worker(t)
	w.delivered(t, l)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
	if lines := e2e.LinesWith(other.Read(late.Log)+late.Err.String(), belongs); len(lines) != 1 {
		t.Errorf("the refusal stands in %d lines of the log: %q", len(lines), lines)
	}
	if left := other.Read(late.Log); strings.Contains(left, "job without a delivery") {
		t.Errorf("the stranger took a job:\n%s", left)
	}
	// With a queue of its own it is accepted.
	other.Append(t, "PI_JOB_QUEUE_NAME = 'other'\n")
	o := startWorld(t, other)
	o.Worker(t)
	wantQueued(t, o, o.enrol(t, "THEIRS"))
}
