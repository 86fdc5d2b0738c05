package webui

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// delivery is a message as GET /delivery/ tells it. It has as many fields as there is to show.
type delivery struct {
	ID        string
	State     string
	Reason    string
	Via       string
	Server    string
	Serial    string
	Realm     string
	Recipient string
	MessageID string `json:"message_id"`
	Created   time.Time
	Updated   time.Time
	NotAfter  time.Time  `json:"not_after"`
	NextTry   *time.Time `json:"next_try"`
	Last      *attempt
}

// attempt is one go at a mail server.
type attempt struct {
	Number    int
	Server    string
	Started   time.Time
	Ended     *time.Time
	Result    string
	Phase     string
	Code      int
	Enhanced  string
	Text      string
	Diagnosis string
	Phases    []phase
}

// Words returns the reply for a sentence.
func (a attempt) Words() string { return words(a.Code, a.Enhanced+" "+a.Text) }

// Ending says how the attempt ended: its result, but that a server whose connection stood was reached.
func (a attempt) Ending() string {
	if a.Result == "unreachable" && a.Phase != "" && a.Phase != "dns" && a.Phase != "connect" {
		return "unfinished"
	}
	return a.Result
}

// words joins a reply's code and text, without the dot at the end, as REST does in its sentence.
func words(code int, text string) string {
	return strings.TrimRight(strings.Join(strings.Fields(strconv.Itoa(code)+" "+text), " "), " .")
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
	Above    string // why nothing was changed
	Full     bool   // the whole address is shown
}

// delivery shows one message from its request to its outcome; after a click with its whole address, to who may see it.
func (v *visit) delivery() error {
	asked := url.Values{}
	if v.r.Method == http.MethodPost {
		asked.Set("recipient", "full")
	}
	return v.showDelivery(http.StatusOK, asked, "")
}

func (v *visit) showDelivery(code int, asked url.Values, above string) error {
	id := v.r.PathValue("id")
	p := deliveryPage{Above: above, Full: asked.Has("recipient")}
	err := v.get(pathTo("delivery", id), asked, &p.Delivery)
	switch {
	case status(err) == http.StatusNotFound, status(err) == http.StatusBadRequest:
		return v.refusal(http.StatusNotFound, "delivery.unknown")
	case err != nil:
		return err
	}
	if p.Delivery.Open() && !p.Full { // loaded again, it would be masked again
		p.Live = pathTo("ui", "deliveries", id, "live")
	}
	v.show(code, "delivery", p)
	return nil
}

// deliveryLive tells when a message has changed.
func (v *visit) deliveryLive() error { return v.watch(pathTo("delivery", v.r.PathValue("id"))) }

// actOnDelivery tries a message at once, or cancels it.
func (v *visit) actOnDelivery() error {
	id, act := v.r.PathValue("id"), v.r.PostForm.Get("act")
	if act != "retry" && act != "cancel" {
		return v.refusal(http.StatusBadRequest, "error.form")
	}
	_, err := v.call(http.MethodPost, pathTo("delivery", id, act), nil)
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusConflict:
		return v.showDelivery(http.StatusConflict, nil, refused.Message)
	case err != nil:
		return err
	}
	return v.redirect(pathTo("ui", "deliveries", id), "delivery_"+act)
}
