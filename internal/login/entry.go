package login

import (
	"strings"

	"otpost/internal/audit"
)

// Entry is the audit row of a decision about the request.
func (r Request) Entry(result Result) audit.Entry {
	e := audit.Entry{
		Action:         r.Action,
		Success:        result.Authentication == Accept || result.Authentication == Challenge && !r.AcceptOnly,
		Authentication: string(result.Authentication),
		Serial:         r.Serial,
		TokenType:      result.Type,
		Login:          r.User,
		Realm:          r.Realm,
		Administrator:  r.Administrator,
		Client:         r.Client,
		TransactionID:  r.TransactionID,
		Info:           result.Message,
	}
	if len(result.Judged) > 0 {
		e.Serial = strings.Join(result.Judged, ",")
	}
	if result.TransactionID != "" {
		e.TransactionID = result.TransactionID
	}
	if u := result.User; u.Login != "" {
		e.Login, e.Realm, e.Resolver = u.Login, u.Realm, u.Resolver
	}
	if r.Triggered {
		e.Authentication, e.Success = "", true // the service that asked is not logged in
	}
	return e
}

// entry is Entry of the decision as it is written. An acceptance names the one token and its message.
func (d *decision) entry(r Request) audit.Entry {
	e := r.Entry(d.result)
	if d.accept != nil {
		t, c, u := d.accept.match.Guess.Token(), d.accept.match.Challenge, d.result.User
		e.Serial, e.TokenType, e.TransactionID, e.DeliveryID = t.Serial, t.Type, c.TransactionID, c.DeliveryID
		e.Login, e.Realm, e.Resolver = u.Login, u.Realm, u.Resolver
	}
	return e
}
