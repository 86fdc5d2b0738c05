package webui

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// deliveriesPage is the data of the list.
type deliveriesPage struct {
	Fields     []field // of the filter
	Above      string
	Deliveries []delivery
	Newest     string // the address of the first page; '' : it is this one
	Next       string // the address of older ones; ''
	Live       string // the address that tells of changes; '' on older pages
	Filtered   bool
	Refused    bool // the filter
}

// filterFields are what the list can be filtered by. The names are those of GET /delivery/.
func (v *visit) filterFields(servers []server) []field {
	all := option{Text: v.text.say("deliveries.all")}
	states, names := []option{all}, []option{all}
	for _, state := range allStates {
		states = append(states, option{Value: state, Text: v.text.say("state." + state)})
	}
	for _, one := range servers {
		names = append(names, option{Value: one.Identifier, Text: one.Identifier})
	}
	return []field{
		{Name: "state", Text: "deliveries.state", Type: "select", Options: states, Bare: true},
		{Name: "server", Text: "deliveries.server", Type: "select", Options: names, Bare: true},
		{Name: "serial", Text: "deliveries.serial", Type: "text", Max: 40, Bare: true},
		{Name: "transaction_id", Text: "deliveries.transaction", Type: "text", Max: 20, Bare: true},
		{Name: "since", Text: "deliveries.since", Type: "datetime-local", Bare: true},
		{Name: "until", Text: "deliveries.until", Type: "datetime-local", Bare: true},
	}
}

// filterOf returns the parameters of REST for what the list is filtered by.
func filterOf(q url.Values) url.Values {
	out := make(url.Values)
	for _, name := range []string{"state", "server", "serial", "transaction_id", "before", "since", "until"} {
		text := strings.TrimSpace(q.Get(name))
		if at, err := time.Parse("2006-01-02T15:04", text); err == nil { // what an input of type datetime-local gives
			text = at.Format(time.RFC3339)
		}
		if text != "" {
			out.Set(name, text)
		}
	}
	return out
}

// deliveries lists messages, newest first.
func (v *visit) deliveries() error {
	q := v.r.URL.Query()
	servers, err := v.allServers()
	if err != nil {
		return err
	}
	p := deliveriesPage{Fields: v.filterFields(servers)}
	fields := each(p.Fields)
	fill(fields, q)
	asked := filterOf(q)
	older := asked.Get("before") != ""
	p.Filtered = len(asked) > 1 || len(asked) == 1 && !older
	var found struct {
		Deliveries []delivery
		Next       string
	}
	if err := v.get("/delivery/", asked, &found); err != nil {
		if status(err) != http.StatusBadRequest {
			return err
		}
		if p.Above, err = v.blame(fields, err); err != nil {
			return err
		}
		p.Refused = true
		v.show(http.StatusBadRequest, "deliveries", p)
		return nil
	}
	p.Deliveries = found.Deliveries
	q.Del("before")
	first := "?" + q.Encode()
	if older {
		p.Newest = "/ui/deliveries" + first
	} else {
		p.Live = "/ui/deliveries/live" + first
	}
	if found.Next != "" {
		q.Set("before", found.Next)
		p.Next = "/ui/deliveries?" + q.Encode()
	}
	v.show(http.StatusOK, "deliveries", p)
	return nil
}

// deliveriesLive tells when the list has changed.
func (v *visit) deliveriesLive() error {
	return v.watch("/delivery/?" + filterOf(v.r.URL.Query()).Encode())
}
