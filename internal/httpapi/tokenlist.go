package httpapi

import (
	"net/http"
	"strings"

	"otpost/internal/access"
	"otpost/internal/challenge"
	"otpost/internal/token"
	"otpost/internal/user"
)

// mostPages bounds a page number: the offset stays a small number.
const mostPages = 1_000_000

// tokens answers GET /token/. A user sees his own tokens, whatever he asks for.
func (s *server) tokens(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	page, err := p.Int("page", 1, 1, mostPages)
	if err != nil {
		return err
	}
	size, err := p.Int("pagesize", token.DefaultPageSize, 1, token.MostPageSize)
	if err != nil {
		return err
	}
	f := token.Filter{Serial: p.Text("serial"), Type: p.Text("type"), Description: p.Text("description"), Resolver: p.Text("resolver"),
		RolloutState: p.Text("rollout_state"), SortBy: p.Text("sortby"), Descending: p.Text("sortdir") == "desc", Page: page, PageSize: size,
	}
	if f.Active, err = optionalBool(p, "active"); err != nil {
		return err
	}
	if f.Assigned, err = optionalBool(p, "assigned"); err != nil {
		return err
	}
	if f.Realm = p.Text("tokenrealm"); f.Realm == "" && p.Text("user") == "" {
		f.Realm = p.Text("realm")
	}
	switch id := callOf(r).identity; id.Role {
	case access.Admin:
		f.Owner, err = s.owner(r)
	default:
		var own user.User
		own, err = s.Users.Find(r.Context(), id.Name, id.Realm)
		f.Owner = &own
	}
	if err != nil {
		return err
	}
	found, err := s.Tokens.List(r.Context(), f)
	if err != nil {
		return err
	}
	list := make([]object, len(found.Tokens))
	for i, t := range found.Tokens {
		list[i] = renderToken(t)
	}
	return answer(w, r, object{"count": found.Count, "next": pageOrNull(found.Next), "prev": pageOrNull(found.Prev), "tokens": list})
}

// optionalBool returns a parameter as yes or no, or nil when it was not given.
func optionalBool(p Params, name string) (*bool, error) {
	if strings.TrimSpace(p.Text(name)) == "" {
		return nil, nil
	}
	yes, err := p.Bool(name, false)
	return &yes, err
}

func pageOrNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

// renderToken renders a token with the recorded fields (token.json, "list all"); info holds texts alone, or Java's
// client dies.
func renderToken(t token.Listed) object {
	info := make(map[string]string, len(t.Properties))
	managed, settable := []string{}, []string{}
	var unreadable []string
	for _, p := range t.Properties {
		info[p.Key] = p.Value
		if p.Managed {
			managed = append(managed, p.Key)
		}
		if p.Unreadable {
			unreadable = append(unreadable, p.Key)
		}
		switch {
		case !p.Managed, p.Key == "email", p.Key == "dynamic_email", p.Key == "email.identifier", p.Key == "hashlib":
			settable = append(settable, p.Key)
		}
	}
	rendered := object{
		"active": t.Active, "container_serial": "", "count": t.ChallengeCount, "count_window": t.CountWindow, "description": t.Description,
		"failcount": t.FailCount, "id": t.ID, "info": info, "locked": t.Revoked, "maxfail": t.MaxFailCount, "otplen": t.OTPLen,
		"readonly_info_keys": managed, "realms": append([]string{}, t.Realms...), "resolver": t.Resolver, "revoked": t.Revoked,
		"rollout_state": t.RolloutState, "serial": t.Serial, "settable_info_keys": settable, "sync_window": t.SyncWindow,
		"tokengroup": []string{}, "tokentype": t.Type, "undeletable_info_keys": managed,
		"user_id": t.UserID, "user_realm": t.UserRealm, "username": t.Owner.Login,
	}
	if unreadable != nil { // of otpost alone: what must be entered again
		rendered["unreadable_info_keys"] = unreadable
	}
	if t.HasUser() {
		rendered["user_editable"] = t.Owner.Editable
	}
	return rendered
}

// challenges answers GET /token/challenges/ and /token/challenges/<serial>: the open ones. The code is not among
// what is kept.
func (s *server) challenges(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	serial, err := pathOf(r, "serial")
	if err != nil {
		return err
	}
	page, err := p.Int("page", 1, 1, mostPages)
	if err != nil {
		return err
	}
	size, err := p.Int("pagesize", challenge.DefaultPageSize, 1, challenge.MostPageSize)
	if err != nil {
		return err
	}
	found, err := s.Challenges(r.Context(), challenge.Filter{Serial: serial, TransactionID: p.Text("transaction_id"), SortBy: p.Text("sortby"),
		Descending: p.Text("sortdir") == "desc", Page: page, PageSize: size})
	if err != nil {
		return err
	}
	list := make([]object, len(found.Challenges))
	for i, c := range found.Challenges {
		list[i] = object{"challenge": "", "data": "", "expiration": c.ValidUntil.Format(http.TimeFormat), "otp_received": c.Received > 0,
			"otp_valid": c.State == challenge.Answered, "received_count": c.Received, "serial": c.Serial,
			"timestamp": c.Created.Format(http.TimeFormat), "transaction_id": c.TransactionID}
	}
	return answer(w, r, object{"challenges": list, "count": found.Count, "current": found.Current, "next": pageOrNull(found.Next),
		"prev": pageOrNull(found.Prev), "redis_cache_enabled": false})
}
