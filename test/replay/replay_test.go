package replay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func number(n int) json.Number { return json.Number(strconv.Itoa(n)) }

// tally counts what became of the exchanges.
type tally struct {
	equal, different, waiting, held int
	failed                          []string
}

// TestRecordedExchangesAreAnsweredAsRecorded is the golden replay.
func TestRecordedExchangesAreAnsweredAsRecorded(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the replay takes about a minute")
	}
	certificate, roots := newCertificate(t)
	in := install(t, roots)
	s := newSession(t, in, newSink(t, certificate), deadPort(t), slowPort(t))
	in.start(t, "PI_JOB_QUEUE_CLASS = 'embedded'\n")
	t.Cleanup(func() { in.stop(t) })

	r := runner{
		session:   s,
		different: loadDifferent(t),
		later:     loadWaiting(t),
		before:    before(),
		after:     after(),
	}
	down := fmt.Sprintf("PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'\nPI_JOB_QUEUE_URL "+
		"= 'redis://%s'\n", deadPort(t))
	// areas that were recorded after a restart, and the queue that they were recorded with
	restarts := map[string]string{
		"queue_redis_down": down + "OTPOST_QUEUE_FALLBACK = 'error'\n", redisDownByDefault: down, "queue_disabled": "",
	}
	area := ""
	for _, e := range inOrder(t) {
		if queue, ok := restarts[e.area]; ok && area != e.area {
			in.stop(t)
			in.start(t, queue)
		}
		area = e.area
		r.exchange(t, e)
	}
	if left := s.sink.take(1, 300*time.Millisecond); len(left) > 0 {
		t.Errorf("%d mails arrived that no exchange explains", len(left))
	}
	c := r.tally
	t.Logf("replay: %d exchanges: %d equal, %d deliberately different, %d wait for a later issue (%d of them not "+
		"sent), %d failed",
		c.equal+c.different+c.waiting+c.held+len(c.failed), c.equal, c.different, c.waiting+c.held, c.held,
		len(c.failed))
	if len(c.failed) > 0 {
		t.Logf("failed: %s", strings.Join(c.failed, "; "))
	}
}

// runner plays exchanges in order and judges each by the lists.
type runner struct {
	session       *session
	different     map[string]deviation
	later         map[string]waiting
	before, after map[string]hook
	tally         tally
}

func (r *runner) exchange(t *testing.T, e exchange) {
	t.Helper()
	waits := func(name string) bool {
		_, ok := r.later[e.area+": "+name]
		return ok
	}
	if h := r.before[e.id()]; h != nil {
		h(r.session, waits)
	}
	r.judge(t, e)
	if h := r.after[e.id()]; h != nil {
		h(r.session, waits)
	}
}

func (r *runner) judge(t *testing.T, e exchange) {
	t.Helper()
	w, later := r.later[e.id()]
	d, deliberate := r.different[e.id()]
	patience := time.Minute
	if later || deliberate && d.Expect["mails"] == number(0) {
		patience = 200 * time.Millisecond // a mail that comes late fails the next exchange
	}
	if w.held {
		r.tally.held++
		return
	}
	a := r.session.play(e, patience)
	found := everywhere(e, compareAnswer(e, r.session.replaced("", e.Response.JSON), a))
	switch {
	case later && len(found) == 0:
		r.fail(t, e, "it is answered as recorded now: take it off testdata/waiting.txt")
	case later:
		r.tally.waiting++
	case deliberate && len(found) == 0:
		r.fail(t, e, "it is answered as recorded now: take it off testdata/different.json and docs/compatibility.md")
	case deliberate:
		if rest := d.unexpected(found, a); len(rest) > 0 {
			r.fail(t, e, "it differs more than row "+d.Reason+" of docs/compatibility.md says", rest...)
			return
		}
		r.tally.different++
	case len(found) > 0:
		r.fail(t, e, "it is not answered as recorded", found...)
	default:
		r.tally.equal++
	}
}

func (r *runner) fail(t *testing.T, e exchange, why string, found ...difference) {
	t.Helper()
	r.tally.failed = append(r.tally.failed, e.id())
	var lines strings.Builder
	for _, d := range found {
		lines.WriteString("\n    " + d.String())
	}
	t.Errorf("%s: %s%s", e.id(), why, lines.String())
}

// everywhere leaves out what differs in every exchange of a kind (docs/compatibility.md,
// "Everywhere"): the story of a delivery at polltransaction, and the settings of a mail server that
// the original does not have, at their defaults.
func everywhere(e exchange, found []difference) []difference {
	defaults := map[string]any{"tls_verify": true, "ca_file": "", "ehlo_name": ""}
	return slices.DeleteFunc(found, func(d difference) bool {
		switch {
		case d.want != absent:
			return false
		case strings.HasPrefix(e.Request.Path, "/validate/polltransaction"):
			return d.path == "$.detail.delivery"
		case e.Request.Path == "/smtpserver/" && e.Request.Method == http.MethodGet:
			value, ours := defaults[d.path[strings.LastIndexByte(d.path, '.')+1:]]
			return ours && d.got == value
		}
		return false
	})
}

func TestEveryExchangeHasItsPlaceInTheScript(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range inOrder(t) {
		if seen[e.id()] {
			t.Errorf("two exchanges are called %q", e.id())
		}
		seen[e.id()] = true
	}
}
