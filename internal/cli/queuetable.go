package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"otpost/internal/delivery"
)

// columns writes rows of cells that tabs separate, as columns without trailing spaces.
func columns(w io.Writer, rows ...string) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, r)
	}
	t.Flush() //nolint:errcheck // into memory
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// row joins cells. An empty cell is a dash; a tab or line end in a cell becomes a space.
func row(cells ...any) string {
	texts := make([]string, 0, len(cells))
	for _, c := range cells {
		text := strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, fmt.Sprint(c))
		if text == "" {
			text = "-"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "\t")
}

// ago returns how long before now a time was; empty for the zero time.
func ago(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return span(now.Sub(at))
}

// span returns a duration in at most two units; a negative duration is 0 s.
func span(d time.Duration) string {
	seconds := int(max(0, d).Seconds())
	switch {
	case seconds < 100:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 100*60:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	case seconds < 48*3600:
		return fmt.Sprintf("%d h %d min", seconds/3600, seconds/60%60)
	default:
		return fmt.Sprintf("%d d %d h", seconds/86400, seconds/3600%24)
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// table writes the status on one screen.
func (v statusView) table(w io.Writer) {
	fmt.Fprintf(w, "queue %s, %s, at %s\n\n", v.Queue, v.Place, moment(v.At))
	if v.Reachable {
		v.tableOfJobs(w)
		v.tableOfWorkers(w)
	} else {
		v.away(w)
		v.tableOfOpen(w)
	}
	v.tableOfFailures(w)
}

// away writes that the values come from the database only.
func (v reachView) away(w io.Writer) {
	fmt.Fprintf(w, "The queue is out of reach: its jobs and workers are not known. This is what the "+
		"database knows.\n\n")
}

func (v statusView) tableOfJobs(w io.Writer) {
	rows := []string{row("READY", "JOBS", "OLDEST DUE SINCE")}
	for _, d := range v.Ready {
		rows = append(rows, row(d.Priority, d.Jobs, ago(v.At, d.Oldest)))
	}
	columns(w, rows...)
	next := ""
	if *v.Scheduled > 0 {
		next = fmt.Sprintf(" (the next one is due in %s)", span(v.NextDue.Sub(v.At)))
	}
	fmt.Fprintf(w, "\nleased %d, scheduled %d%s, dead %d\n\n", *v.Leased, *v.Scheduled, next, *v.Dead)
}

// tableOfOpen writes the messages without a final state, by state.
func (v statusView) tableOfOpen(w io.Writer) {
	if len(v.Open) == 0 {
		fmt.Fprint(w, "MAILS UNDER WAY\nnone\n\n")
		return
	}
	rows := []string{row("MAILS UNDER WAY", "MAILS", "ATTEMPTS", "OLDEST")}
	for _, o := range v.Open {
		rows = append(rows, row(o.State, o.Mails, o.Attempts, ago(v.At, o.Oldest)+" ago"))
	}
	columns(w, rows...)
	fmt.Fprintln(w)
}

func (v statusView) tableOfWorkers(w io.Writer) {
	if len(v.Workers) == 0 {
		fmt.Fprintf(w, "WORKERS\nnone is seen; start one with: %s\n\n", v.StartOne)
		return
	}
	rows := []string{row("WORKERS", "PID", "VERSION", "HANDLERS", "LAST BEAT", "RUNS FOR")}
	for _, one := range v.Workers {
		rows = append(rows, row(one.Host, one.PID, one.Version, one.Handlers, ago(v.At, one.Beat)+" ago",
			ago(v.At, one.Started)))
	}
	columns(w, rows...)
	fmt.Fprintln(w)
}

func (v statusView) tableOfFailures(w io.Writer) {
	if len(v.Failures) == 0 {
		fmt.Fprint(w, "FAILURES IN 24 HOURS\nnone\n")
		return
	}
	rows := []string{row("FAILURES IN 24 HOURS", "REASON", "MAILS", "LAST")}
	for _, f := range v.Failures {
		rows = append(rows, row(f.State, f.Reason, f.Count, ago(v.At, f.Last)+" ago"))
	}
	columns(w, rows...)
}

// tableOfJobs writes a line per job.
func tableOfJobs(w io.Writer, jobs []jobView, now time.Time) {
	rows := []string{row("ID", "KIND", "STATE", "PRIORITY", "DUE", "ENDS IN", "CRASHES", "REASON")}
	for _, j := range jobs {
		due := "in " + span(j.RunAt.Sub(now))
		if !j.RunAt.After(now) {
			due = ago(now, j.RunAt) + " ago"
		}
		rows = append(rows, row(j.ID, j.Kind, j.State, j.Priority, due, left(j.NotAfter, now), j.Crashes, j.Reason))
	}
	columns(w, rows...)
}

// table writes a line per job, or per unfinished message while the queue is out of reach.
func (v listView) table(w io.Writer, now time.Time) {
	if v.Reachable {
		tableOfJobs(w, v.Jobs, now)
		return
	}
	v.away(w)
	rows := []string{row("ID", "STATE", "VIA", "SERVER", "ATTEMPTS", "MADE", "ENDS IN")}
	for _, o := range v.Open {
		rows = append(rows, row(o.ID, o.State, o.Via, o.Server, o.Attempts, ago(now, o.Created)+" ago",
			left(o.NotAfter, now)))
	}
	columns(w, rows...)
}

// left returns the time until an end.
func left(end, now time.Time) string {
	switch {
	case end.IsZero():
		return ""
	case !end.After(now):
		return "over"
	default:
		return span(end.Sub(now))
	}
}

// table writes the job, then its message, then each attempt.
func (v showView) table(w io.Writer, now time.Time) {
	if !v.Reachable {
		fmt.Fprintln(w, "job: not known, because the queue is out of reach")
	} else if v.Job == nil {
		fmt.Fprintln(w, "job: the queue has no job of this id (any more)")
	} else {
		j := v.Job
		rows := []string{
			row("job", j.ID), row("kind", j.Kind), row("state", j.State), row("priority", j.Priority),
			row("run at", moment(j.RunAt)),
			row("not after", moment(j.NotAfter)), row("crashes", j.Crashes), row("reason", j.Reason),
		}
		if j.Worker != uuid.Nil {
			rows = append(rows, row("worker", j.Worker))
		}
		columns(w, rows...)
	}
	fmt.Fprintln(w)
	if v.Delivery == nil {
		fmt.Fprintln(w, "delivery: the database has no delivery of this id")
		return
	}
	v.Delivery.table(w, now)
}

// table writes the message, then its attempts.
func (d *deliveryView) table(w io.Writer, now time.Time) {
	columns(w,
		row("delivery", d.ID), row("state", d.State), row("reason", d.Reason), row("via", d.Via),
		row("server", d.Server),
		row("recipient", d.Recipient), row("message id", d.MessageID), row("created", moment(d.Created)),
		row("not after", moment(d.NotAfter)+", "+endText(d.NotAfter, now)))
	fmt.Fprintln(w)
	rows := []string{row("ATTEMPT", "STARTED", "TOOK", "RESULT", "PHASE", "REPLY")}
	for _, a := range d.Attempts {
		took := "under way"
		if a.Ended != nil {
			took = a.Ended.Sub(a.Started).Round(time.Millisecond).String()
		}
		rows = append(rows, row(a.Number, moment(a.Started), took, a.Class, a.Phase,
			replyText(a.Code, a.Enhanced, a.Text)))
	}
	if len(d.Attempts) == 0 {
		fmt.Fprintln(w, "no attempt was made")
		return
	}
	columns(w, rows...)
	for _, a := range d.Attempts {
		tableOfPhases(w, a)
	}
}

// tableOfPhases writes the advice for an administrator, and a line per phase and certificate.
func tableOfPhases(w io.Writer, a delivery.Attempt) {
	if len(a.Phases) == 0 && a.Diagnosis == "" {
		return
	}
	fmt.Fprintf(w, "\nattempt %d\n", a.Number)
	reply := strings.TrimRight(replyText(a.Code, a.Enhanced, a.Text), " .")
	server := "of the test mail" // of unsaved values
	if a.Route != "" {
		server = strconv.Quote(a.Route)
	}
	if sentence := a.Diagnosis.Sentence(server, reply); sentence != "" {
		fmt.Fprintf(w, "%s: %s\n", a.Diagnosis, sentence)
	}
	var rows []string
	for _, p := range a.Phases {
		rows = append(rows, row(p.Phase, fmt.Sprintf("%.1f ms", p.MS), replyText(p.Code, p.Enhanced, p.Text)))
		if p.TLS == nil {
			continue
		}
		if p.TLS.Version != "" {
			rows = append(rows, row("", "", p.TLS.Version+", "+p.TLS.Cipher))
		}
		for _, c := range p.TLS.Chain {
			rows = append(rows, row("", "", fmt.Sprintf("%s for %s, by %s, %s to %s", c.Subject,
				strings.Join(c.Names, " "), c.Issuer, c.NotBefore, c.NotAfter)))
		}
	}
	columns(w, rows...)
}

// replyText joins the parts of a reply.
func replyText(code int, enhanced, text string) string {
	if code == 0 {
		return text
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%d %s %s", code, enhanced, text)), " ")
}

// endText returns an end and whether it has passed.
func endText(end, now time.Time) string {
	if in := left(end, now); in != "over" {
		return "in " + in
	}
	return "over"
}
