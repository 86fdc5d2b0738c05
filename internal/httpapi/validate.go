package httpapi

import (
	"net/http"

	"otpost/internal/fault"
	"otpost/internal/login"
)

func (s *server) validateRoutes() []route {
	check := func(method, path string, h handler) route {
		return route{method: method, path: path, who: anyone, right: open, handler: h, client: true, acts: true}
	}
	poll := func(path string) route {
		return route{
			method:  "GET",
			path:    path,
			who:     anyone,
			right:   open,
			handler: s.poll,
			client:  true,
			quiet:   true,
		}
	}
	trigger := func(method string) route {
		return route{method: method, path: "/validate/triggerchallenge", who: admins, right: "triggerchallenge",
			handler: s.trigger, empty: onAccess, client: true, acts: true}
	}
	return []route{
		check("GET", "/validate/check", s.check), check("POST", "/validate/check", s.check),
		check("GET", "/validate/radiuscheck", s.radius), check("POST", "/validate/radiuscheck", s.radius),
		poll("/validate/polltransaction"), poll("/validate/polltransaction/{transaction}"),
		trigger("GET"), trigger("POST"),
	}
}

// check answers /validate/check.
func (s *server) check(w http.ResponseWriter, r *http.Request) error {
	result, err := s.decide(r, false)
	if err != nil {
		return err
	}
	note(w, "", result.Key())
	return succeed(w, r, success{
		authentication: string(result.Authentication),
		value:          result.Authentication == login.Accept,
		detail:         detailOf(result),
	})
}

// radius answers /validate/radiuscheck: 204 for a login, 400 for everything else, no body
// (recorded: "radiuscheck ...").
func (s *server) radius(w http.ResponseWriter, r *http.Request) error {
	result, err := s.decide(r, true)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if result.Authentication == login.Accept {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.WriteHeader(http.StatusBadRequest)
	return nil
}

// decide asks login about the request's credentials. acceptOnly says that the answer tells an
// acceptance from everything else.
func (s *server) decide(r *http.Request, acceptOnly bool) (login.Result, error) {
	request, err := loginRequest(r)
	if err != nil {
		return login.Result{}, err
	}
	if !paramsOf(r).Has("pass") {
		return login.Result{}, fault.Missing("pass")
	}
	request.Pass, request.AcceptOnly = paramsOf(r).Secret("pass"), acceptOnly
	result, err := s.Login.Check(r.Context(), request)
	if err != nil {
		return login.Result{}, err
	}
	learn(r, request, result)
	return result, nil
}

// trigger answers /validate/triggerchallenge: the value is the number of challenges.
func (s *server) trigger(w http.ResponseWriter, r *http.Request) error {
	request, err := loginRequest(r)
	if err != nil {
		return err
	}
	request.Triggered = true
	result, err := s.Login.Trigger(r.Context(), request)
	if err != nil {
		return err
	}
	learn(r, request, result)
	note(w, "", result.Key())
	return succeed(w, r, success{
		authentication: string(result.Authentication),
		value:          len(result.Challenges),
		detail:         detailOf(result),
	})
}

// loginRequest reads what names the user or token. FreeRADIUS sends state in the place of
// transaction_id and resConf for the resolver (docs/compatibility.md, "Clients").
func loginRequest(r *http.Request) (login.Request, error) {
	p := paramsOf(r)
	e := &callOf(r).entry
	request := login.Request{
		User:          p.Text("user"),
		Realm:         p.Text("realm"),
		Resolver:      p.Text("resolver"),
		Serial:        p.Text("serial"),
		TransactionID: p.Text("transaction_id"),
		Type:          p.Text("type"),
		Client:        callOf(r).client,
		Action:        e.Action,
		Administrator: e.Administrator,
	}
	if request.Resolver == "" {
		request.Resolver = p.Text("resConf")
	}
	if request.TransactionID == "" {
		request.TransactionID = p.Text("state")
	}
	e.Login, e.Realm, e.Serial, e.TransactionID = request.User, request.Realm, request.Serial, request.TransactionID
	if err := request.NamesSubject(); err != nil {
		return request, err
	}
	var err error
	request.OTPOnly, err = p.Bool("otponly", false)
	return request, err
}

// learn puts what login found out into the audit row.
func learn(r *http.Request, request login.Request, result login.Result) {
	c := callOf(r)
	c.recorded, c.counted, c.entry = result.Recorded, result.Counted, request.Entry(result)
}

// interactive is the client mode of tokens whose code is typed.
const interactive = "interactive"

// detailOf renders a decision; nil where the answer has no detail (otponly). Lists that are shown are never nil.
func detailOf(result login.Result) object {
	if result.HideDetail {
		return nil
	}
	detail := object{}
	if result.Message != "" {
		detail["message"] = result.Message
	}
	if result.Serial != "" {
		detail["serial"] = result.Serial
	}
	if result.Type != "" {
		detail["type"] = result.Type
	}
	if result.OTPLen != 0 {
		detail["otplen"] = result.OTPLen
	}
	if result.Lists {
		addChallenges(detail, result)
	}
	return detail
}

// addChallenges renders challenges, be there any or not. client_mode, serial and type at the top
// are those of the last one, as recorded; attributes are left out, for PHP's clients die on them
// (docs/compatibility.md, "Clients").
func addChallenges(detail object, result login.Result) {
	challenges := make([]object, len(result.Challenges))
	transactions := make([]string, len(result.Challenges))
	for i, c := range result.Challenges {
		challenges[i] = object{"client_mode": interactive, "message": c.Message, "serial": c.Serial,
			"transaction_id": c.TransactionID, "type": c.Type}
		transactions[i] = c.TransactionID
		detail["client_mode"], detail["serial"], detail["type"] = interactive, c.Serial, c.Type
	}
	if len(challenges) > 0 {
		detail["preferred_client_mode"], detail["transaction_id"] = interactive, result.TransactionID
	}
	detail["messages"] = append([]string{}, result.Messages...)
	detail["multi_challenge"], detail["transaction_ids"] = challenges, transactions
}
