package webui

import (
	"net/url"
	"time"
)

// attention is something that an administrator should look at first.
type attention struct {
	Kind string // bad or warn
	Text string
	Path string // where to look; ''
}

const (
	late   = time.Minute    // a message that waits longer is worth a look
	recent = 24 * time.Hour // a failure is, for that long; the list of servers shows older ones too
	few    = 5              // notices of one kind: of two hundred servers none would be read
)

// attention returns what to look at, the worst first.
func (v *visit) attention(p overviewPage, servers []server, forCodes string) []attention {
	now := v.site.options.Now()
	var bad, warn []attention
	if p.Queue.Database != "" {
		bad = append(bad, attention{"bad", v.text.say("database." + p.Queue.Database), ""})
	}
	if p.Queue.OtherKeys {
		bad = append(bad, attention{"bad", v.text.say("attention.keys"), ""})
	}
	if len(servers) == 0 && v.session.may("smtpserver_read") && (p.Sent || p.Steps == nil) { // else the first step says so
		bad = append(bad, attention{"bad", v.text.say("servers.none"), "/ui/servers"})
	}
	if why := v.noCodes(servers, forCodes); why != "" {
		bad = append(bad, attention{"bad", why, "/ui/servers"})
	}
	if note := v.note(p.Queue); note != "" && p.Queue.Database == "" && usesQueue(servers) {
		bad = append(bad, attention{"bad", note, ""})
	}
	failing, unverified := v.attentionOf(servers, p.Statistics, now)
	bad = append(bad, v.some(failing)...)
	if oldest := p.Statistics.Open.Oldest; oldest != nil && now.Sub(*oldest) > late {
		bad = append(bad, attention{"bad", v.text.say("attention.late", p.Statistics.Open.Waiting, int(now.Sub(*oldest).Seconds())),
			"/ui/deliveries?state=queued%2Cdeferred"})
	}
	warn = append(warn, v.some(unverified)...)
	if p.Queue.Dead > 0 {
		warn = append(warn, attention{"warn", v.text.say("attention.dead", p.Queue.Dead), ""})
	}
	return append(bad, warn...)
}

// attentionOf returns the servers that failed lately, and those whose certificate is not verified.
func (v *visit) attentionOf(servers []server, s statistics, now time.Time) (failing, unverified []attention) {
	for _, one := range servers {
		if !one.TLSVerify && (one.TLS || one.Implicit()) {
			unverified = append(unverified, attention{"warn", v.text.say("attention.unverified", one.Identifier), pathTo("ui", "servers", one.Identifier)})
		}
		last := s.Servers[one.Identifier].Last
		if last != nil && last.Diagnosis != "" && last.State != "accepted" && now.Sub(last.At) <= recent {
			failing = append(failing, attention{"bad", one.Identifier + ": " +
				v.text.say("diagnosis."+last.Diagnosis, one.Address(), last.Words()),
				"/ui/deliveries?server=" + url.QueryEscape(one.Identifier)})
		}
	}
	return failing, unverified
}

// some returns a few notices of one kind, and how many more there are.
func (v *visit) some(all []attention) []attention {
	if len(all) <= few {
		return all
	}
	return append(all[:few:few], attention{all[0].Kind, v.text.say("attention.more", len(all)-few), "/ui/servers"})
}
