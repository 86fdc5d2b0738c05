package login_test

import (
	"errors"
	"testing"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/fault"
	"otpost/internal/login"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/token"
)

// The tests of this file are the rows of docs/login.md, in their order; messages are the recorded ones.

const (
	prompt  = "Enter the OTP from the Email"
	notSent = "The PIN was correct, but the EMail could not be sent!"
)

// acceptedWithPIN is what an acceptance shows for PIN and code.
func acceptedWithPIN(serial string) login.Result {
	return login.Result{Authentication: login.Accept, Message: "matching 1 tokens", Serial: serial, Type: "email", OTPLen: 6, Recorded: true}
}

func acceptedAnswer(serial string) login.Result {
	return login.Result{Authentication: login.Accept, Message: "Found matching challenge", Serial: serial, Recorded: true}
}

func refusedCode(message string) login.Result {
	return login.Result{Authentication: login.Reject, Message: message, Serial: serial, Type: "email", OTPLen: 6}
}

func refusedAnswer() login.Result {
	return login.Result{Authentication: login.Reject, Message: "Response did not match the challenge.", Serial: serial, Type: "email"}
}

func TestRow1UserWithoutTokenIsRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.want(r.check(login.Request{User: "notoken", Pass: "x"}), rejected("The user has no tokens assigned"))
}

func TestRow2DisabledTokenIsRejectedAndNotCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.tokens.Disable(t.Context(), token.Selection{Serial: serial}); err != nil {
		t.Fatal(err)
	}
	r.want(r.pass(alicePIN), rejected("Token is disabled"))
	r.want(r.check(login.Request{Serial: serial, Pass: alicePIN}), rejected("Token is disabled"))
	r.wantCounters(serial, counters{})
}

func TestRow2TokenThatIsNotEnrolledIsRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	err := r.db.Write(t.Context(), func(tx *store.Tx) error {
		tx.Put(`UPDATE token SET rollout_state = 'verify'`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.want(r.pass(alicePIN), rejected("Token is not yet enrolled"))
}

func TestRow2RevokedTokenIsAFault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.tokens.Revoke(t.Context(), token.Selection{Serial: serial}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Check(t.Context(), login.Request{User: "alice", Pass: alicePIN})
	if fault.CodeOf(err) != fault.TokenLocked {
		t.Errorf("a revoked token: %v", err)
	}
}

func TestRow3LockedTokenIsRejectedWhateverIsSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	transaction, code := r.challenge()
	r.maxFail(serial, 3)
	for range 3 {
		r.want(r.answer(transaction, wrong(code)), refusedAnswer())
	}
	if got := r.token(serial); got.FailCounterExceeded.IsZero() {
		t.Error("nobody wrote when the limit was reached")
	}
	for name, q := range map[string]login.Request{
		"right code": {User: "alice", Pass: code, TransactionID: transaction}, "PIN": {User: "alice", Pass: alicePIN},
		"PIN and code": {User: "alice", Pass: alicePIN + code}, "wrong PIN": {User: "alice", Pass: "nope"}, "serial": {Serial: serial, Pass: alicePIN},
	} {
		t.Log(name)
		r.want(r.check(q), rejected("Failcounter exceeded"))
	}
	r.wantCounters(serial, counters{Fail: 3})
	if n := r.mails(); n != 1 {
		t.Errorf("%d mails, want the first alone", n)
	}
	if _, err := r.tokens.Reset(t.Context(), token.Selection{Serial: serial}); err != nil {
		t.Fatal(err)
	}
	r.want(r.answer(transaction, code), acceptedAnswer(serial))
}

func TestRow4PINChallenges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, q := range []login.Request{{User: "alice"}, {User: "alice", Realm: "realm1"}, {User: "alice@realm1"}, {Serial: serial}} {
		q.Pass = alicePIN
		got := r.check(q)
		r.want(got, login.Result{
			Authentication: login.Challenge, Message: prompt, Lists: true, Messages: []string{prompt}, Serial: serial, Type: "email",
			TransactionID: got.TransactionID,
			Challenges:    []login.Prompted{{Serial: serial, Type: "email", Message: prompt, TransactionID: got.TransactionID}},
		})
		if len(got.TransactionID) != 20 || got.User.Login != "alice" {
			t.Errorf("transaction %q of %q", got.TransactionID, got.User.Login)
		}
	}
	r.wantCounters(serial, counters{})
	if code := r.code(); len(code) != 6 {
		t.Errorf("a code of %d digits, want 6", len(code))
	}
	if n := r.token(serial).ChallengeCount; n != 4 {
		t.Errorf("%d challenges counted, want 4", n)
	}
}

func TestRow4DynamicAddressIsTheUsersOfNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bob := r.people.by["bob"]
	pin := token.Text("pindyn")
	if _, err := r.tokens.Init(t.Context(), token.Enrolment{Type: "email", Serial: "EMDYN", DynamicEmail: true, PIN: &pin, Owner: &bob}); err != nil {
		t.Fatal(err)
	}
	bob.Email = "moved@example.com"
	r.people.by["bob"] = bob
	if got := r.check(login.Request{User: "bob", Pass: pin}); got.Authentication != login.Challenge {
		t.Fatalf("%+v", got)
	}
	if to := r.post.mails[0].Recipient; to != "moved@example.com" {
		t.Errorf("sent to %s", to)
	}
}

func TestRow5UnsentInlineMailRejectsAndEndsTheChallenge(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]string{"server down": "dead", "no such server": "nosuch", "none set": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.set(system.EmailIdentifier, route)
			r.want(r.pass(alicePIN), login.Result{Authentication: login.Reject, Message: notSent, Lists: true, Messages: []string{notSent}})
			r.wantCounters(serial, counters{})
			if n := r.open(serial); n != 0 {
				t.Errorf("%d challenges are open", n)
			}
		})
	}
}

func TestRow5UserWithoutAddressIsToldThatNothingWasSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.people.by["nomail"]
	pin := token.Text("pn")
	if _, err := r.tokens.Init(t.Context(), token.Enrolment{Type: "email", Serial: "EMNOMAIL", DynamicEmail: true, PIN: &pin, Owner: &u}); err != nil {
		t.Fatal(err)
	}
	r.want(r.check(login.Request{User: "nomail", Pass: pin}), login.Result{Authentication: login.Reject, Message: notSent, Lists: true, Messages: []string{notSent}})
}

func TestRow5MailWithoutReplyKeepsItsCodeUsable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post.lose = true
	if got := r.pass(alicePIN); got.Authentication != login.Reject || got.TransactionID != "" {
		t.Errorf("%+v", got)
	}
	r.want(r.pass(alicePIN+r.code()), acceptedWithPIN(serial))
}

func TestRow6OtherTokensChallengeWhenOneIsNotSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.people.by["multi"]
	pin := token.Text("pinm")
	r.enrol("EMGOOD", "multi", pin)
	if _, err := r.tokens.Init(t.Context(), token.Enrolment{Type: "email", Serial: "EMDEAD", Email: "a@example.com", PIN: &pin, Owner: &u, EmailIdentifier: "dead"}); err != nil {
		t.Fatal(err)
	}
	got := r.check(login.Request{User: "multi", Pass: pin})
	r.want(got, login.Result{
		Authentication: login.Challenge, Message: prompt + ", " + notSent, Lists: true, Messages: []string{prompt, notSent},
		Serial: "EMGOOD", Type: "email", TransactionID: got.TransactionID,
		Challenges: []login.Prompted{{Serial: "EMGOOD", Type: "email", Message: prompt, TransactionID: got.TransactionID}},
	})
	r.wantCounters("EMGOOD", counters{})
	r.wantCounters("EMDEAD", counters{})
}

func TestRow7WrongPINCountsForEachToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", "other")
	for _, pass := range []token.Text{"wrong", "", "pin1abcdef", "pin112345", "123456"} {
		r.want(r.pass(pass), rejected("wrong otp pin"))
	}
	r.want(r.check(login.Request{Serial: serial, Pass: "nope"}), rejected("wrong otp pin"))
	r.wantCounters(serial, counters{Fail: 6, Auth: 6})
	r.wantCounters("EMOTHER", counters{Fail: 5, Auth: 5})
}

func TestRow7CountsEvenWhenTheSettingSaysNo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.IncFailCountOnFalsePIN, "False")
	r.want(r.pass("wrong"), rejected("wrong otp pin"))
	r.wantCounters(serial, counters{Fail: 1, Auth: 1})
}

func TestRow8PINAndCodeOfAnOpenChallengeIsAccepted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", "other")
	r.pass("wrong")
	_, code := r.challenge()
	r.want(r.pass(alicePIN+code), acceptedWithPIN(serial))
	r.wantCounters(serial, counters{Fail: 0, Auth: 2, Success: 1})
	r.wantCounters("EMOTHER", counters{Fail: 1, Auth: 1})
	if got := r.token(serial).LastAuth; !got.Equal(r.clock.Now()) {
		t.Errorf("last_auth %v", got)
	}
	if n := r.open(serial); n != 0 {
		t.Errorf("%d challenges are open", n)
	}
}

func TestRow8CodeMayStandFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.PrependPIN, "False")
	_, code := r.challenge()
	r.want(r.pass(code+alicePIN), acceptedWithPIN(serial))
}

func TestRow8EmptyPIN(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMNOPIN", "bob", "")
	if got := r.check(login.Request{User: "bob"}); got.Authentication != login.Challenge {
		t.Fatalf("the empty PIN: %+v", got)
	}
	r.want(r.check(login.Request{User: "bob", Pass: r.code()}), acceptedWithPIN("EMNOPIN"))
}

func TestRow8DropsTheMailThatWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailConcurrent, "True")
	_, code := r.challenge()
	r.set(system.EmailIdentifier, "queued")
	if got := r.pass(alicePIN); got.Authentication != login.Challenge {
		t.Fatalf("%+v", got)
	}
	r.want(r.pass(alicePIN+code), acceptedWithPIN(serial))
	if got := r.states(); got[delivery.Queued] != 1 || got[delivery.Accepted] != 1 {
		t.Errorf("a message of another challenge was dropped: %v", got)
	}
}

func TestRow9UsedCodeIsNamedAndCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", "other")
	_, code := r.challenge()
	r.pass(alicePIN + code)
	r.want(r.pass(alicePIN+code), refusedCode("wrong otp value. previous otp used again"))
	r.wantCounters(serial, counters{Fail: 1, Auth: 2, Success: 1})
	r.wantCounters("EMOTHER", counters{})
}

func TestRow10OtherCodeCountsAndSendsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", "other")
	r.want(r.pass(alicePIN+"123456"), refusedCode("wrong otp value"))
	_, code := r.challenge()
	r.want(r.pass(alicePIN+wrong(code)), refusedCode("wrong otp value"))
	r.wantCounters(serial, counters{Fail: 2, Auth: 2})
	r.wantCounters("EMOTHER", counters{})
	if n := r.mails(); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

func TestRow11ExpiredAndSupersededCodesAreWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, superseded := r.challenge()
	_, expired := r.challenge()
	for superseded == expired { // one in a million
		_, expired = r.challenge()
	}
	r.want(r.pass(alicePIN+superseded), refusedCode("wrong otp value"))
	r.clock.Advance(120 * time.Second)
	r.want(r.pass(alicePIN+expired), refusedCode("wrong otp value"))
	r.wantCounters(serial, counters{Fail: 2, Auth: 2})
}

func TestRow12RightAnswerIsAccepted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", alicePIN)
	first := r.pass(alicePIN)
	codes := []token.Text{token.Text(r.post.mails[0].Body), token.Text(r.post.mails[1].Body)}
	if len(first.Challenges) != 2 {
		t.Fatalf("%d challenges, want 2", len(first.Challenges))
	}
	r.answer(first.TransactionID, wrong(codes[0]))
	r.want(r.answer(first.TransactionID, codeFor(r, serial)), acceptedAnswer(serial))
	r.wantCounters(serial, counters{Fail: 0, Auth: 1, Success: 1})
	r.wantCounters("EMOTHER", counters{Fail: 1})
	if n := r.open("*"); n != 0 {
		t.Errorf("%d challenges of the transaction are open", n)
	}
}

// codeFor returns the code of the last mail to a token's own address.
func codeFor(r *rig, serial string) token.Text {
	for i := len(r.post.mails) - 1; i >= 0; i-- {
		if r.post.mails[i].Recipient == serial+"@example.com" {
			return token.Text(r.post.mails[i].Body)
		}
	}
	r.t.Fatalf("no mail for %s", serial)
	return ""
}

func TestRow12ConcurrentChallengesAreAllGood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(system.EmailConcurrent, "True")
	var transactions []string
	var codes []token.Text
	for range 6 {
		transaction, code := r.challenge()
		transactions, codes = append(transactions, transaction), append(codes, code)
		r.clock.Advance(time.Millisecond)
	}
	if n := r.open(serial); n != 5 {
		t.Errorf("%d challenges are open, want 5", n)
	}
	r.want(r.answer(transactions[0], codes[0]), refusedAnswer())
	for i := 1; i < 6; i++ {
		r.want(r.answer(transactions[i], codes[i]), acceptedAnswer(serial))
	}
}

func TestRow13WrongAnswerCountsAndKeepsTheChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", "other")
	transaction, code := r.challenge()
	r.want(r.answer(transaction, wrong(code)), refusedAnswer())
	r.want(r.answer(transaction, alicePIN+code), refusedAnswer())
	r.wantCounters(serial, counters{Fail: 2})
	r.wantCounters("EMOTHER", counters{})
	r.want(r.answer(transaction, code), acceptedAnswer(serial))
}

func TestRow14WrongAnswerForSeveralTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", alicePIN)
	transaction := r.pass(alicePIN).TransactionID
	r.want(r.answer(transaction, "no code"), rejected("Response did not match for 2 tokens."))
	r.wantCounters(serial, counters{Fail: 1})
	r.wantCounters("EMOTHER", counters{Fail: 1})
}

func TestRow15ExpiredOrSupersededTransactionIsAWrongAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	superseded, first := r.challenge()
	expired, second := r.challenge()
	r.want(r.answer(superseded, first), refusedAnswer())
	r.clock.Advance(120 * time.Second)
	r.want(r.answer(expired, second), refusedAnswer())
	r.wantCounters(serial, counters{Fail: 2})
}

func TestRow16TransactionThatAsksNothingCountsAsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	answered, code := r.challenge()
	r.answer(answered, code)
	r.enrol("EMBOB", "bob", "pinb")
	foreign := r.check(login.Request{User: "bob", Pass: "pinb"}).TransactionID
	for _, transaction := range []string{answered, foreign, "01234567890123456789", "garbage", "1"} {
		r.want(r.answer(transaction, "123456"), rejected("wrong otp pin"))
		if got := r.answer(transaction, alicePIN); got.Authentication != login.Challenge {
			t.Errorf("the PIN with transaction %s: %+v", transaction, got)
		}
	}
	r.wantCounters(serial, counters{Fail: 5, Auth: 6, Success: 1})
	r.want(r.check(login.Request{User: "bob", Pass: codeFor(r, "EMBOB"), TransactionID: foreign}), acceptedAnswer("EMBOB"))
}

func TestRow17CodeAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, code := r.challenge()
	only := login.Request{Serial: serial, OTPOnly: true, Pass: wrong(code)}
	if got := r.check(only); got.Authentication != login.Reject || !got.HideDetail {
		t.Errorf("wrong code: %+v", got)
	}
	r.wantCounters(serial, counters{Fail: 1})
	only.Pass = code
	if got := r.check(only); got.Authentication != login.Accept || !got.HideDetail {
		t.Errorf("right code: %+v", got)
	}
	r.wantCounters(serial, counters{})
	if got := r.check(only); got.Authentication != login.Reject {
		t.Errorf("the same code again: %+v", got)
	}
	r.wantCounters(serial, counters{Fail: 1})
}

func TestRow18TriggerNeedsNoPINAndPaysNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.enrol("EMOTHER", "alice", "other")
	trigger := func(q login.Request) login.Result {
		t.Helper()
		got, err := r.Trigger(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := trigger(login.Request{User: "alice", Type: "email"})
	r.want(got, login.Result{
		Authentication: login.Challenge, Message: prompt, Lists: true, Messages: []string{prompt, prompt}, Serial: "EMOTHER", Type: "email",
		TransactionID: got.TransactionID, Challenges: []login.Prompted{
			{Serial: serial, Type: "email", Message: prompt, TransactionID: got.TransactionID},
			{Serial: "EMOTHER", Type: "email", Message: prompt, TransactionID: got.TransactionID},
		},
	})
	r.want(r.answer(got.TransactionID, codeFor(r, serial)), acceptedAnswer(serial))
	if got := trigger(login.Request{Serial: serial}); len(got.Challenges) != 1 {
		t.Errorf("one serial: %+v", got)
	}
	nothing := login.Result{Authentication: login.Reject, Lists: true}
	for _, q := range []login.Request{{User: "notoken"}, {User: "alice", Type: "hotp"}, {Serial: "NOSUCH"}} {
		r.want(trigger(q), nothing)
	}
	r.set(system.EmailIdentifier, "dead")
	r.want(trigger(login.Request{User: "alice"}), login.Result{Authentication: login.Reject, Lists: true, Message: notSent, Messages: []string{notSent, notSent}})
	for _, s := range []string{serial, "EMOTHER"} {
		r.maxFail(s, 1)
	}
	r.pass("wrong")
	r.want(trigger(login.Request{User: "alice"}), login.Result{
		Authentication: login.Reject, Lists: true, Message: "Failcounter exceeded", Messages: []string{"Failcounter exceeded"},
	})
	r.wantCounters(serial, counters{Fail: 1, Auth: 2, Success: 1})
	if _, err := r.tokens.Disable(t.Context(), token.Selection{Serial: serial}); err != nil {
		t.Fatal(err)
	}
	r.want(trigger(login.Request{Serial: serial}), nothing)
}

func TestRow19OurFaultGivesThePaymentBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.people.by["bob"]
	pin := token.Text("pinb")
	if _, err := r.tokens.Init(t.Context(), token.Enrolment{Type: "email", Serial: "EMDYN", DynamicEmail: true, PIN: &pin, Owner: &u}); err != nil {
		t.Fatal(err)
	}
	r.people.fail = errors.New("the directory is down")
	_, err := r.Check(t.Context(), login.Request{User: "bob", Pass: pin})
	if !errors.Is(err, r.people.fail) {
		t.Fatalf("error %v", err)
	}
	r.wantCounters("EMDYN", counters{})
}

// A token whose row is damaged cannot be used. Its login is refused; another token of the same user still works.
func TestDamagedTokenIsLeftOutOfALogin(t *testing.T) {
	t.Parallel()
	for column, value := range map[string]any{
		"pin_hash": "no hash at all", "otplen": "junk", "failcount": "junk", "active": "junk", "created_ms": "junk",
	} {
		r := newRig(t)
		r.sql(`UPDATE token SET `+column+` = $2 WHERE serial = $1`, serial, value)
		for _, q := range []login.Request{{User: "alice", Pass: alicePIN}, {Serial: serial, Pass: alicePIN}} {
			got, err := r.Check(t.Context(), q)
			if err != nil || got.Authentication != login.Reject {
				t.Errorf("%s: %+v, %v", column, got, err)
			}
		}
		r.enrol("OTHER", "alice", alicePIN)
		if got := r.check(login.Request{User: "alice", Pass: alicePIN}); got.Authentication != login.Challenge {
			t.Errorf("%s: the other token: %+v", column, got)
		}
	}
}

func TestUnknownUserRealmAndSerialAreFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, one := range []struct {
		q    login.Request
		code fault.Code
		text string
	}{
		{login.Request{User: "nosuch", Realm: "realm1"}, fault.User, "ERR904: User <nosuch@realm1> does not exist."},
		{login.Request{User: "alice", Realm: "nosuch"}, fault.User, "ERR904: User <alice@nosuch> does not exist."},
		{login.Request{User: "alice", Resolver: "other"}, fault.User, "ERR904: User <alice@realm1> does not exist."},
		{login.Request{Serial: "NOSUCH"}, fault.NotFound, "The requested token could not be found."},
		{login.Request{User: "bob", Serial: serial}, fault.Parameter, "ERR905: The token does not belong to this user."},
		{login.Request{}, fault.Parameter, "ERR905: You need to specify a serial, user or credential_id."},
	} {
		one.q.Pass = "x"
		_, err := r.Check(t.Context(), one.q)
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != one.code || f.Message != one.text {
			t.Errorf("%s/%s: %v, want %d %s", one.q.User, one.q.Serial, err, one.code, one.text)
		}
	}
	_, err := r.Trigger(t.Context(), login.Request{User: "nosuch"})
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.User || f.Message != "ERR904: The user can not be found in any resolver in this realm!" {
		t.Errorf("trigger: %v", err)
	}
	r.wantCounters(serial, counters{})
}
