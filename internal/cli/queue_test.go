package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"otpost/internal/app"
	"otpost/internal/delivery"
	"otpost/internal/queue"
)

func fakeStatus() app.QueueStatus {
	at := time.Date(2026, 11, 24, 12, 0, 0, 5_000_000, time.UTC)
	return app.QueueStatus{
		Name:     "huey",
		Place:    "embedded in /var/lib/otpost/otpost.db",
		At:       at,
		StartOne: "privacyidea-queue-huey",
		Jobs: queue.Status{
			Ready: [2]queue.Depth{queue.Urgent: {Jobs: 12, Oldest: at.Add(-75 * time.Second)},
				queue.Normal: {Jobs: 1, Oldest: at.Add(-3 * time.Hour)}},
			Leased:    3,
			Scheduled: 2,
			NextDue:   at.Add(4 * time.Second),
			Dead:      1,
		},
		Workers: []queue.Seen{
			{
				Worker: queue.Worker{
					ID:       uuid.MustParse("b3c1f0de-0000-4000-8000-000000000001"),
					Host:     "otp1",
					PID:      4711,
					Version:  "0.1.0",
					Handlers: 128,
				},
				Started: at.Add(-50 * time.Hour), Heartbeat: at.Add(-time.Second), Local: true,
			},
			{
				Worker: queue.Worker{
					ID:       uuid.MustParse("b3c1f0de-0000-4000-8000-000000000002"),
					Host:     "otp-backup",
					PID:      9,
					Version:  "0.1.0",
					Handlers: 32,
				},
				Started: at.Add(-101 * time.Second), Heartbeat: at.Add(-9 * time.Second),
			},
		},
		Open: []delivery.Backlog{{State: delivery.Queued, Mails: 13, Attempts: 2, Oldest: at.Add(-75 * time.Second)}},
		Failures: []delivery.Failure{
			{State: delivery.Failed, Reason: delivery.Refused, Count: 14, Last: at.Add(-2 * time.Minute)},
			{State: delivery.Unknown, Reason: delivery.NoReply, Count: 1, Last: at.Add(-20 * time.Hour)},
		},
	}
}

func TestStatusIsOneScreen(t *testing.T) {
	t.Parallel()
	const want = `queue huey, embedded in /var/lib/otpost/otpost.db, at 2026-11-24T12:00:00.005Z

READY   JOBS  OLDEST DUE SINCE
urgent  12    75 s
normal  1     3 h 0 min

leased 3, scheduled 2 (the next one is due in 4 s), dead 1

WORKERS     PID   VERSION  HANDLERS  LAST BEAT  RUNS FOR
otp1        4711  0.1.0    128       1 s ago    2 d 2 h
otp-backup  9     0.1.0    32        9 s ago    1 min 41 s

FAILURES IN 24 HOURS  REASON    MAILS  LAST
failed                refused   14     2 min 0 s ago
unknown               no reply  1      20 h 0 min ago
`
	var got bytes.Buffer
	viewStatus(fakeStatus(), nil).table(&got)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusOfAnIdleQueueNamesTheCommandThatStartsAWorker(t *testing.T) {
	t.Parallel()
	const want = `queue huey, in Redis, at 2026-11-24T12:00:00.000Z

READY   JOBS  OLDEST DUE SINCE
urgent  0     -
normal  0     -

leased 0, scheduled 0, dead 0

WORKERS
none is seen; start one with: privacyidea-queue-huey

FAILURES IN 24 HOURS
none
`
	idle := app.QueueStatus{Name: "huey", Place: "in Redis", At: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
		StartOne: "privacyidea-queue-huey"}
	var got bytes.Buffer
	viewStatus(idle, nil).table(&got)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var doc bytes.Buffer
	if err := (jsonFlag{JSON: true}).print(&doc, viewStatus(idle, nil), nil); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"workers": []`, `"failures_24h": []`} {
		if !strings.Contains(doc.String(), part) {
			t.Errorf("JSON lacks %s:\n%s", part, doc.String())
		}
	}
}

func TestStatusOfAQueueOutOfReachIsWhatTheDatabaseKnows(t *testing.T) {
	t.Parallel()
	const want = `queue huey, embedded in /var/lib/otpost/otpost.db, at 2026-11-24T12:00:00.005Z

The queue is out of reach: its jobs and workers are not known. This is what the database knows.

MAILS UNDER WAY  MAILS  ATTEMPTS  OLDEST
queued           13     2         75 s ago

FAILURES IN 24 HOURS  REASON    MAILS  LAST
failed                refused   14     2 min 0 s ago
unknown               no reply  1      20 h 0 min ago
`
	view := viewStatus(fakeStatus(), errors.New("no answer"))
	var got bytes.Buffer
	view.table(&got)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got.Reset()
	if err := (jsonFlag{JSON: true}).print(&got, view, nil); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"reachable": false`, `"error": "no answer"`, `"depth": []`, `"leased": null`,
		`"workers": []`, `"mails": 13`} {
		if !strings.Contains(got.String(), part) {
			t.Errorf("JSON lacks %s:\n%s", part, got.String())
		}
	}
}

func TestQueueCommandsWithoutRedisExitWithOneAndSayWhy(t *testing.T) {
	t.Parallel()
	file := box(t, "--queue", "redis", "--queue-url", "unix://"+filepath.Join(t.TempDir(), "no.sock"))
	id := "0192f6e0-0000-7000-8000-000000000000"
	for _, args := range [][]string{{"queue", "status"}, {"queue", "list"}, {"queue", "show", id}} {
		args = append(args, "--config", file)
		got := command(t, "", args...)
		got.want(t, 1, "out of reach")
		if got.out == "" || strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, "no.sock") {
			t.Errorf("%v printed %q, and %q is not one sentence", args, got.out, got.err)
		}
		got = command(t, "", append(args, "--json")...)
		got.want(t, 1)
		var view reachView
		if err := json.Unmarshal([]byte(got.out), &view); err != nil || view.Reachable || view.Error == nil ||
			!strings.Contains(*view.Error, "no.sock") {
			t.Errorf("%v printed %q, %v", args, got.out, err)
		}
	}
}

func TestStatusAsJSONHasTheSameFigures(t *testing.T) {
	t.Parallel()
	var doc bytes.Buffer
	if err := (jsonFlag{JSON: true}).print(&doc, viewStatus(fakeStatus(), nil), nil); err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(doc.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"reachable": true, "error": nil, "queue": "huey", "place": "embedded in /var/lib/otpost/otpost.db",
		"at": "2026-11-24T12:00:00.005Z",
		"depth": []any{
			map[string]any{"priority": "urgent", "ready": 12., "oldest": "2026-11-24T11:58:45.005Z"},
			map[string]any{"priority": "normal", "ready": 1., "oldest": "2026-11-24T09:00:00.005Z"},
		},
		"leased": 3., "scheduled": 2., "next_due": "2026-11-24T12:00:04.005Z", "dead": 1.,
		"workers": []any{
			map[string]any{
				"id": "b3c1f0de-0000-4000-8000-000000000001", "host": "otp1", "pid": 4711., "version": "0.1.0",
				"handlers": 128.,
				"started":  "2026-11-22T10:00:00.005Z", "beat": "2026-11-24T11:59:59.005Z", "local": true,
			},
			map[string]any{
				"id": "b3c1f0de-0000-4000-8000-000000000002", "host": "otp-backup", "pid": 9., "version": "0.1.0",
				"handlers": 32.,
				"started":  "2026-11-24T11:58:19.005Z", "beat": "2026-11-24T11:59:51.005Z", "local": false,
			},
		},
		"start_one_with": "privacyidea-queue-huey",
		"open_deliveries": []any{map[string]any{"state": "queued", "mails": 13., "attempts": 2.,
			"oldest": "2026-11-24T11:58:45.005Z"}},
		"failures_24h": []any{
			map[string]any{"state": "failed", "reason": "refused", "count": 14., "last": "2026-11-24T11:58:00.005Z"},
			map[string]any{"state": "unknown", "reason": "no reply", "count": 1., "last": "2026-11-23T16:00:00.005Z"},
		},
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListIsALineForEachJob(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	jobs := []queue.Listed{
		{
			Job: queue.Job{
				ID: uuid.MustParse("0192f6e0-0000-7000-8000-000000000001"), Kind: "delivery.send",
				RunAt: at.Add(-5 * time.Second), NotAfter: at.Add(100 * time.Second),
			},
			State: queue.Ready, Crashes: 2,
		},
		{
			Job: queue.Job{ID: uuid.MustParse("0192f6e0-0000-7000-8000-000000000002"), Kind: "delivery.send",
				Priority: queue.Normal, RunAt: at.Add(8 * time.Second)},
			State: queue.Scheduled,
		},
		{
			Job: queue.Job{ID: uuid.MustParse("0192f6e0-0000-7000-8000-000000000003"), Kind: "delivery.send",
				RunAt: at.Add(-time.Hour), NotAfter: at},
			State: queue.Dead, Reason: "no such\nrow",
		},
	}
	const want = `ID                                    KIND           STATE      PRIORITY  DUE            ENDS IN     CRASHES  REASON
0192f6e0-0000-7000-8000-000000000001  delivery.send  ready      urgent    5 s ago        1 min 40 s  2        -
0192f6e0-0000-7000-8000-000000000002  delivery.send  scheduled  normal       in 8 s         -           0        -
0192f6e0-0000-7000-8000-000000000003  delivery.send  dead       urgent    60 min 0 s ago  over        0        no such row
`
	var got bytes.Buffer
	tableOfJobs(&got, viewJobs(jobs), at)
	fields := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	wantLines, gotLines := strings.Split(want, "\n"), strings.Split(got.String(), "\n")
	if len(wantLines) != len(gotLines) {
		t.Fatalf("%d lines, want %d:\n%s", len(gotLines), len(wantLines), got.String())
	}
	for i := range wantLines {
		if fields(wantLines[i]) != fields(gotLines[i]) {
			t.Errorf("line %d:\n%s\nwant\n%s", i, gotLines[i], wantLines[i])
		}
	}
}

func TestShowTellsAJobAndItsMessage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	id := uuid.MustParse("0192f6e0-0000-7000-8000-000000000001")
	ended := at.Add(250 * time.Millisecond)
	d := &delivery.Record{
		ID:        id,
		State:     delivery.Deferred,
		Via:       delivery.ViaQueue,
		Server:    "mx",
		Recipient: "a***@e***.org",
		MessageID: "<m@otp1>",
		Created:   at,
		NotAfter:  at.Add(2 * time.Minute),
		Attempts: []delivery.Attempt{
			{
				Number:   1,
				Started:  at,
				Ended:    &ended,
				Class:    "temporary",
				Phase:    "rcpt",
				Code:     451,
				Enhanced: "4.7.1",
				Text:     "later",
			},
			{Number: 2, Started: at.Add(time.Second)},
		},
	}
	first := &d.Attempts[0]
	first.Route, first.Diagnosis = "mx", "greylisted"
	if err := json.Unmarshal(
		[]byte(
			`[{"phase": "tls", "ms": 3.25, "code": 220, "text": "go on", "tls": {"version": "TLS 1.3", "cipher": "AES",
		"chain": [{"subject": "CN=mx", "issuer": "CN=root", "names": ["mx.example", "192.0.2.1"], "not_before": "B", "not_after": "A"}]}},
		{"phase": "rcpt", "ms": 12, "code": 451, "enhanced": "4.7.1", "text": "later"}]`), &first.Phases); err != nil {
		t.Fatal(err)
	}
	job := &queue.Listed{Job: queue.Job{ID: id, Kind: delivery.Kind, RunAt: at.Add(time.Second), NotAfter: d.NotAfter},
		State: queue.Leased, Worker: id}
	var got bytes.Buffer
	viewShow(job, d, nil).table(&got, at.Add(time.Minute))
	for _, line := range []string{
		"state leased", "worker " + id.String(), "state deferred", "reason -", "server mx", "recipient a***@e***.org",
		"not after 2026-11-24T12:02:00.000Z, in 60 s",
		"1 2026-11-24T12:00:00.000Z 250ms temporary rcpt 451 4.7.1 later", "2 2026-11-24T12:00:01.000Z under way - - -",
		"attempt 1", "greylisted: " + first.Diagnosis.Sentence(`"mx"`, "451 4.7.1 later"), "tls 3.2 ms 220 go on",
		"- - TLS 1.3, AES",
		"- - CN=mx for mx.example 192.0.2.1, by CN=root, B to A", "rcpt 12.0 ms 451 4.7.1 later",
	} {
		found := false
		for l := range strings.Lines(got.String()) {
			found = found || strings.Join(strings.Fields(l), " ") == line
		}
		if !found {
			t.Errorf("no line %q in:\n%s", line, got.String())
		}
	}
	got.Reset()
	viewShow(nil, &delivery.Record{ID: id}, nil).table(&got, at)
	if text := got.String(); !strings.Contains(text, "the queue has no job of this id") ||
		!strings.Contains(text, "no attempt was made") {
		t.Errorf("a message without a job:\n%s", text)
	}
}

func TestQueueCommandsOnAnEmptyQueue(t *testing.T) {
	t.Parallel()
	file := box(t, "--queue", "embedded")
	command(t, "", "queue", "status", "--config", file).want(t, 0, "queue huey, embedded in",
		"none is seen; start one with: otpost worker --config "+file)
	command(t, "", "queue", "status", "--config", file, "--json").want(t, 0, `"queue": "huey"`)
	command(t, "", "queue", "list", "--config", file).want(t, 0, "ID")
	command(t, "", "queue", "list", "--config", file, "--json", "--state", "dead").want(t, 0, `"reachable": true`,
		`"error": null`, `"jobs": []`)
	command(t, "", "queue", "list", "--config", file, "--state", "lost").want(t, 2, "--state must be one of")
	command(t, "", "queue", "list", "--config", file, "--most", "-1").want(t, 2, "--most")
	command(t, "", "queue", "show", "--config", file, "7").want(t, 2, "is not an id")
	command(t, "", "queue", "show", "--config", file, "0192f6e0-0000-7000-8000-000000000000").want(t, 1,
		"no job and no delivery of this id")
}

func TestQueueCommandsWithoutAQueueSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	file := box(t)
	for _, args := range [][]string{{"queue", "status"}, {"queue", "list"}, {"worker", "--check"}} {
		got := command(t, "", append(args, "--config", file)...)
		got.want(t, 1, "PI_JOB_QUEUE_CLASS", file)
		if strings.Count(got.err, "\n") != 1 {
			t.Errorf("%v: %q is not one sentence", args, got.err)
		}
	}
}
