// Package login decides a login.
//
// User, tokens, PIN and codes go in; accepted, rejected or challenged comes out. The package promises
// the table of docs/login.md, row by row: "row n" in a comment is a row of that table.
//
// A guess is paid for in a commit of its own before a PIN or code is compared. One transaction writes
// the decision: counters, ended and new challenges, the message with its job, and the audit row. A code
// is accepted once, however many answers come at the same time. delivery sends, and httpapi renders the
// answer.
package login

import (
	"log/slog"
	"strings"
	"sync/atomic"

	"otpost/internal/delivery"
	"otpost/internal/store"
	"otpost/internal/token"
	"otpost/internal/user"
)

// Authentication is the decision, in the words of result.authentication.
type Authentication string

// The decisions.
const (
	Accept    Authentication = "ACCEPT"
	Reject    Authentication = "REJECT"
	Challenge Authentication = "CHALLENGE"
)

// Request is what a client asks. It has as many fields as the calls have parameters.
type Request struct {
	User          string // name or name@realm; or Serial
	Realm         string // empty: the default one, or that of User
	Resolver      string // empty: any
	Serial        string
	Pass          token.Text // PIN, PIN and code, or code; Check only
	TransactionID string     // of the challenge that is answered ("transaction_id" or "state"); Check only
	OTPOnly       bool       // Pass is a code without PIN; with Serial, Check only
	Type          string     // only tokens of this type; Trigger only
	Client        string     // address, for the audit and for the order of service
	Action        string     // for the audit: "POST /validate/check"
	Administrator string     // for the audit: who asked; Trigger only
	Triggered     bool       // for the audit: Trigger is asked, and sets it
	AcceptOnly    bool       // for the audit: the answer tells an acceptance from everything else (RADIUS)
}

// Result is the decision with everything that an answer and an audit row need. It has as many fields as they show.
type Result struct {
	Authentication Authentication
	Message        string     // detail.message; empty: there is none
	Lists          bool       // detail carries messages, multi_challenge and transaction_ids, even empty ones
	Messages       []string   // one for each token that should have challenged; nil unless Lists
	Challenges     []Prompted // the challenges that were made; nil unless Lists. Trigger's value is their number
	TransactionID  string     // of Challenges
	Serial         string     // detail.serial; empty: it is not shown
	Type           string     // detail.type; as Serial
	OTPLen         int        // detail.otplen; 0: it is not shown
	HideDetail     bool       // the answer has no detail at all
	User           user.User  // zero: the token has none
	Judged         []string   // serials of the tokens that it is about, for the audit
	Recorded       bool       // the audit has its row already
	Counted        bool       // a fail counter counts it
}

// Key names the sentence of a refusal in every language, as fault.Error.Key does; empty for an
// acceptance and a challenge.
func (r Result) Key() string {
	switch {
	case r.Authentication != Reject:
		return ""
	case r.Message == exceeded:
		return "exceeded"
	case r.Lists:
		return "unsent" // of no token that should have challenged a message could be sent
	}
	switch r.Message {
	case noTokens:
		return "no_tokens"
	case disabled:
		return "disabled"
	case notEnrolled:
		return "not_enrolled"
	case wrongPIN:
		return "wrong_pin"
	}
	return "wrong_code"
}

// Prompted is one challenge, as multi_challenge shows it.
type Prompted struct {
	Serial, Type, Message, TransactionID string
}

// The recorded sentences (testdata/rest/validate.json, token.json).
const (
	noTokens     = "The user has no tokens assigned"
	disabled     = "Token is disabled"
	notEnrolled  = "Token is not yet enrolled"
	exceeded     = "Failcounter exceeded"
	wrongPIN     = "wrong otp pin"
	wrongCode    = "wrong otp value"
	usedCode     = "wrong otp value. previous otp used again"
	rightCode    = "matching 1 tokens"
	rightAnswer  = "Found matching challenge"
	wrongAnswer  = "Response did not match the challenge."
	wrongAnswers = "Response did not match for %d tokens."
)

// Options are what a Service needs. All but Log are required.
type Options struct {
	DB         *store.DB
	Users      *user.Directory
	Tokens     *token.Service
	Deliveries *delivery.Service
	Log        *slog.Logger // discards
}

// Service decides logins. It is safe for concurrent use.
type Service struct {
	Options

	known  atomic.Pointer[base] // of the login before; nil: none
	unsent unsent
}

// New returns a Service; it does no I/O.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{Options: o}
}

// rejected returns a refusal with nothing but a sentence.
func rejected(message string) Result { return Result{Authentication: Reject, Message: message} }

// about adds what the answer shows of a token.
func (r Result) about(t token.Token, otplen bool) Result {
	r.Serial, r.Type = t.Serial, t.Type
	if otplen {
		r.OTPLen = t.OTPLen
	}
	return r
}

// joined returns the texts, each once, joined by ", ": the recorded form of detail.message for several challenges.
func joined(texts []string) string {
	seen := make(map[string]bool)
	var once []string
	for _, text := range texts {
		if !seen[text] {
			once = append(once, text)
		}
		seen[text] = true
	}
	return strings.Join(once, ", ")
}
