package webui

import (
	"net/http"
	"net/url"
	"slices"
)

// overviewPage is the data of the first page of administrators.
type overviewPage struct {
	Steps      []step // of the first run; nil when all are done
	Sent       bool   // a mail was accepted at some time
	Attention  []attention
	Statistics statistics
	Chart      chart
	Queue      queueState
	SeesQueue  bool
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
	if p.Sent, err = v.sent(p.Statistics); err != nil {
		return err
	}
	if p.Steps, err = v.steps(servers, p.Sent); err != nil {
		return err
	}
	forCodes, err := v.serverForCodes()
	if err != nil {
		return err
	}
	p.SeesQueue = v.session.may("queue_read")
	p.Attention = v.attention(p, servers, forCodes)
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

// sent reports whether a mail server has taken a message at some time, as far back as deliveries are kept.
func (v *visit) sent(s statistics) (bool, error) {
	for _, one := range s.Servers {
		if one.Accepted > 0 {
			return true, nil
		}
	}
	var accepted struct{ Deliveries []struct{} }
	err := v.get("/delivery/", url.Values{"state": {"accepted"}, "pagesize": {"1"}}, &accepted)
	return len(accepted.Deliveries) > 0, err
}

// steps returns the steps of the first run, until each has been done once: a server, a mail that was accepted, a token.
func (v *visit) steps(servers []server, sent bool) ([]step, error) {
	if !v.session.may("smtpserver_write") || !v.session.may("tokenlist") {
		return nil, nil
	}
	var tokens struct{ Count int }
	if err := v.get("/token/", url.Values{"pagesize": {"1"}}, &tokens); err != nil {
		return nil, err
	}
	all := []step{
		{Key: "server", Path: "/ui/newserver", Done: len(servers) > 0},
		{Key: "test", Path: "/ui/servers", Done: sent},
		{Key: "token", Path: "/ui/users", Done: tokens.Count > 0},
	}
	if len(servers) > 0 {
		all[1].Path = pathTo("ui", "servers", servers[0].Identifier) + "#f-recipient"
	}
	next := slices.IndexFunc(all, func(s step) bool { return !s.Done })
	if next < 0 {
		return nil, nil
	}
	all[next].Now = true
	return all, nil
}
