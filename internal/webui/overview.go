package webui

import (
	"net/http"
	"net/url"
	"time"
)

// overviewPage is the data of the first page of administrators.
type overviewPage struct {
	Steps      []step // of the first run; nil when all are done
	Attention  []attention
	Statistics statistics
	Chart      chart
	Queue      queueState
	SeesQueue  bool
}

// attention is something that an administrator should look at first.
type attention struct {
	Kind string // bad or warn
	Text string
	Path string // where to look; ''
}

// step is one of the three of the first run.
type step struct {
	Key  string // of its text: step.<Key>
	Path string
	Done bool
	Now  bool // the next one to do
}

// overview shows what needs attention, what becomes of messages, and how the queue stands.
func (v *visit) overview() error {
	var p overviewPage
	var err error
	if p.Statistics, err = v.statistics(); err != nil {
		return err
	}
	if p.Queue, err = v.queue(); err != nil {
		return err
	}
	servers, err := v.allServers()
	if err != nil {
		return err
	}
	if p.Steps, err = v.steps(servers, p.Statistics); err != nil {
		return err
	}
	p.SeesQueue = v.session.may("queue_read")
	p.Attention = v.attention(p, servers)
	p.Chart = draw(p.Statistics.Minutes)
	v.show(http.StatusOK, "overview", p)
	return nil
}

// overviewLive tells when the overview has changed.
func (v *visit) overviewLive() error {
	paths := []string{"/delivery/statistics"}
	if v.session.may("queue_read") {
		paths = append(paths, "/queue/")
	}
	return v.watch(paths...)
}

// steps returns the steps of the first run, until each has been done once: a server, a mail that was accepted, a token.
func (v *visit) steps(servers []server, s statistics) ([]step, error) {
	if !v.session.may("smtpserver_write") || !v.session.may("tokenlist") {
		return nil, nil
	}
	var tokens struct{ Count int }
	if err := v.get("/token/", url.Values{"pagesize": {"1"}}, &tokens); err != nil {
		return nil, err
	}
	if len(servers) > 0 && tokens.Count > 0 {
		return nil, nil
	}
	all := []step{
		{Key: "server", Path: "/ui/newserver", Done: len(servers) > 0},
		{Key: "test", Path: "/ui/servers"},
		{Key: "token", Path: "/ui/users", Done: tokens.Count > 0},
	}
	if len(servers) > 0 {
		all[1].Path = pathTo("ui", "servers", servers[0].Identifier) + "#f-recipient"
	}
	for _, one := range s.Servers {
		all[1].Done = all[1].Done || one.Accepted > 0
	}
	for i := range all {
		if !all[i].Done {
			all[i].Now = true
			break
		}
	}
	return all, nil
}

// late is how long a message may wait before it is worth a look.
const late = time.Minute

// attention returns what to look at, the worst first.
func (v *visit) attention(p overviewPage, servers []server) []attention {
	var bad, warn []attention
	queued := false
	for _, s := range servers {
		queued = queued || s.Queue
		if !s.TLSVerify && (s.TLS || s.Implicit()) {
			warn = append(warn, attention{"warn", v.text.say("attention.unverified", s.Identifier), pathTo("ui", "servers", s.Identifier)})
		}
		if last := p.Statistics.Servers[s.Identifier].Last; last != nil && last.Diagnosis != "" && last.State != "accepted" {
			bad = append(bad, attention{"bad", v.text.say("diagnosis."+last.Diagnosis, s.Identifier), "/ui/deliveries?server=" + url.QueryEscape(s.Identifier)})
		}
	}
	if note := v.note(p.Queue); note != "" && queued {
		bad = append([]attention{{"bad", note, ""}}, bad...)
	}
	if oldest := p.Statistics.Open.Oldest; oldest != nil && v.site.options.Now().Sub(*oldest) > late {
		bad = append(bad, attention{"bad", v.text.say("attention.late", p.Statistics.Open.Waiting, int(v.site.options.Now().Sub(*oldest).Seconds())),
			"/ui/deliveries?state=queued%2Cdeferred"})
	}
	if p.Queue.Dead > 0 {
		warn = append(warn, attention{"warn", v.text.say("attention.dead", p.Queue.Dead), ""})
	}
	return append(bad, warn...)
}
