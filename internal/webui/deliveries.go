package webui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// delivery is a message as GET /delivery/ tells it.
type delivery struct {
	ID           string
	Channel      string
	State        string
	Reason       string
	Via          string
	Server       string
	Serial       string
	Realm        string
	Recipient    string
	MessageID    string `json:"message_id"`
	Created      time.Time
	Updated      time.Time
	NotAfter     time.Time  `json:"not_after"`
	NextTry      *time.Time `json:"next_try"`
	Transactions []string
	Last         *attempt
}

// attempt is one go at a mail server.
type attempt struct {
	Number    int
	Server    string
	Started   time.Time
	Ended     *time.Time
	DotAt     *time.Time `json:"dot_at"`
	Result    string
	Phase     string
	Code      int
	Enhanced  string
	Text      string
	Diagnosis string
	Phases    []phase
}

// phase is a step of an attempt, with the server's reply. Its texts come from outside.
type phase struct {
	Phase    string
	MS       float64
	Code     int
	Enhanced string
	Text     string
	TLS      *struct {
		Version string
		Cipher  string
		Chain   []certificate
	}
}

// certificate is one of those that a server showed.
type certificate struct {
	Subject, Issuer string
	Names           []string
	NotBefore       time.Time `json:"not_before"`
	NotAfter        time.Time `json:"not_after"`
}

// Open reports whether the message may still be sent.
func (d delivery) Open() bool { return slices.Contains(openStates, d.State) }

// Waiting reports whether an administrator may try it at once or cancel it.
func (d delivery) Waiting() bool { return d.State == "queued" || d.State == "deferred" }

var (
	openStates = []string{"queued", "deferred", "sending"}                                       //nolint:gochecknoglobals // a constant table
	allStates  = append(openStates[:3:3], "accepted", "failed", "expired", "dropped", "unknown") //nolint:gochecknoglobals // a constant table
)

// deliveriesPage is the data of the list.
type deliveriesPage struct {
	States       []option
	Servers      []option
	Serial       string
	Transaction  string
	Since, Until string // of inputs of type datetime-local, UTC
	Error        string
	Deliveries   []delivery
	Next         string // the address of older ones; ''
	Live         string // the address that tells of changes; '' on older pages
	Filtered     bool
}

// filterOf returns the parameters of REST for what the list is filtered by.
func filterOf(q url.Values) url.Values {
	out := make(url.Values)
	for _, name := range []string{"state", "server", "serial", "transaction_id", "before"} {
		if text := strings.TrimSpace(q.Get(name)); text != "" {
			out.Set(name, text)
		}
	}
	for _, name := range []string{"since", "until"} {
		if text := q.Get(name); text != "" {
			if at, err := time.Parse("2006-01-02T15:04", text); err == nil {
				text = at.Format(time.RFC3339)
			}
			out.Set(name, text)
		}
	}
	return out
}

// deliveries lists messages, newest first.
func (v *visit) deliveries() error {
	q := v.r.URL.Query()
	p := deliveriesPage{Serial: q.Get("serial"), Transaction: q.Get("transaction_id"), Since: q.Get("since"), Until: q.Get("until")}
	for _, state := range allStates {
		p.States = append(p.States, option{Value: state, Text: v.text.say("state." + state), Chosen: q.Get("state") == state})
	}
	names, err := v.serverNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		p.Servers = append(p.Servers, option{Value: name, Text: name, Chosen: q.Get("server") == name})
	}
	asked := filterOf(q)
	p.Filtered = len(asked) > 0
	var found struct {
		Deliveries []delivery
		Next       string
	}
	if err := v.get("/delivery/", asked, &found); status(err) == http.StatusBadRequest {
		p.Error = err.(*apiError).Message //nolint:errorlint // status found it
	} else if err != nil {
		return err
	}
	p.Deliveries = found.Deliveries
	if asked.Get("before") == "" {
		p.Live = "/ui/deliveries/live?" + q.Encode()
	}
	if found.Next != "" {
		q.Set("before", found.Next)
		p.Next = "/ui/deliveries?" + q.Encode()
	}
	v.show(http.StatusOK, "deliveries", p)
	return nil
}

// serverNames returns the identifiers of the SMTP servers; none for who may not see them.
func (v *visit) serverNames() ([]string, error) {
	if !v.session.may("smtpserver_read") {
		return nil, nil
	}
	var all map[string]struct{}
	if err := v.get("/smtpserver/", nil, &all); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// deliveriesLive tells when the list has changed.
func (v *visit) deliveriesLive() error {
	return v.watch("/delivery/?" + filterOf(v.r.URL.Query()).Encode())
}

// story is a message as GET /delivery/<id> tells it.
type story struct {
	delivery
	Attempts []attempt
	Waiters  []struct {
		TransactionID string `json:"transaction_id"`
		Serial        string
		Ended         string
	}
}

// deliveryPage is the data of one message.
type deliveryPage struct {
	Delivery story
	Live     string
}

// delivery shows one message from its request to its outcome; after a click with its whole address, to who may see it.
func (v *visit) delivery() error {
	id := v.r.PathValue("id")
	asked := url.Values{}
	if v.r.Method == http.MethodPost {
		asked.Set("recipient", "full")
	}
	var p deliveryPage
	if err := v.get(pathTo("delivery", id), asked, &p.Delivery); err != nil {
		return err
	}
	if p.Delivery.Open() && v.r.Method == http.MethodGet {
		p.Live = pathTo("ui", "deliveries", id, "live")
	}
	v.show(http.StatusOK, "delivery", p)
	return nil
}

// deliveryLive tells when a message has changed.
func (v *visit) deliveryLive() error { return v.watch(pathTo("delivery", v.r.PathValue("id"))) }

// actOnDelivery tries a message at once, or cancels it.
func (v *visit) actOnDelivery() error {
	id, act := v.r.PathValue("id"), v.r.PostForm.Get("act")
	if act != "retry" && act != "cancel" {
		return &apiError{Status: http.StatusBadRequest, Message: v.text.say("error.form")}
	}
	if _, err := v.call(http.MethodPost, pathTo("delivery", id, act), nil); err != nil {
		return err
	}
	return v.redirect(pathTo("ui", "deliveries", id), "delivery_"+act)
}
