package inbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"otpost/internal/inbox"
)

const letter = "Subject: =?utf-8?q?J=C3=BC?=\r\nContent-Transfer-Encoding: base64\r\n\r\nNDgyOTEz\r\n"

func open(t *testing.T, o inbox.Options) *inbox.Inbox {
	t.Helper()
	i, err := inbox.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func send(i *inbox.Inbox, auth sasl.Client, to ...string) error {
	c, err := smtp.Dial(i.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	if auth != nil {
		if err := c.Auth(auth); err != nil {
			return err
		}
	}
	return c.SendMail("pi@example.com", to, strings.NewReader(letter))
}

// code returns the code of a refusal, 0 of anything else.
func code(err error) int {
	var refused *smtp.SMTPError
	if !errors.As(err, &refused) {
		return 0
	}
	return refused.Code
}

func TestKeepsWhatItGets(t *testing.T) {
	t.Parallel()
	i := open(t, inbox.Options{})
	if err := send(i, nil, "alice@example.com", "bob@example.com"); err != nil {
		t.Fatal(err)
	}
	all, err := i.Wait(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	m := all[0]
	if string(m.Raw) != letter || m.From != "pi@example.com" ||
		strings.Join(m.To, " ") != "alice@example.com bob@example.com" || m.At.IsZero() || m.TLS {
		t.Fatalf("%+v", m)
	}
	if m.Header("subject") != "Jü" || m.Text() != "482913" || m.Header("X-None") != "" {
		t.Fatalf("%q %q", m.Header("subject"), m.Text())
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, inbox.Options{}).Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestWaitSeesMailsThatComeWhileItWaits(t *testing.T) {
	t.Parallel()
	i := open(t, inbox.Options{})
	sent := make(chan error, 1)
	go func() {
		err := send(i, nil, "a@example.com")
		if err == nil {
			err = send(i, nil, "b@example.com")
		}
		sent <- err
	}()
	if all, err := i.Wait(t.Context(), 2); err != nil || len(all) != 2 {
		t.Fatalf("%d mails, %v", len(all), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0"} {
		if i, err := inbox.Open(inbox.Options{Addr: address}); err == nil {
			i.Close()
			t.Errorf("%s was opened", address)
		}
	}
}

func TestRefusesAsTold(t *testing.T) {
	t.Parallel()
	i := open(t, inbox.Options{Refuse: func(at inbox.Step, who string) *inbox.Refusal {
		if at == inbox.AtRcpt && who == "rej550@example.com" {
			return &inbox.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user"}
		}
		if at == inbox.AtDot && who == "dat554@example.com" {
			return &inbox.Refusal{Code: 554, Text: "spam"}
		}
		return nil
	}})
	for to, want := range map[string]int{"rej550@example.com": 550, "dat554@example.com": 554} {
		if err := send(i, nil, to); code(err) != want {
			t.Errorf("%s: %v, want %d", to, err, want)
		}
	}
	if err := send(i, nil, "alice@example.com"); err != nil || len(i.Messages()) != 1 {
		t.Fatalf("%d mails, %v", len(i.Messages()), err)
	}
}

func TestAsksForAuthentication(t *testing.T) {
	t.Parallel()
	i := open(t, inbox.Options{Username: "mailuser", Password: "right"})
	if err := send(i, nil, "a@example.com"); code(err) != 530 {
		t.Errorf("without: %v", err)
	}
	if err := send(i, sasl.NewPlainClient("", "mailuser", "wrong"), "a@example.com"); code(err) != 535 {
		t.Errorf("wrong password: %v", err)
	}
	if err := send(i, sasl.NewLoginClient("mailuser", "right"), "a@example.com"); err != nil {
		t.Errorf("right password: %v", err)
	}
	if all := i.Messages(); len(all) != 1 || all[0].Username != "mailuser" {
		t.Errorf("%+v", all)
	}
}

func TestDropsTheConnectionAfterKeepingTheMail(t *testing.T) {
	t.Parallel()
	i := open(t, inbox.Options{Drop: func(string) bool { return true }})
	if err := send(i, nil, "a@example.com"); err == nil {
		t.Error("the dot was answered")
	}
	if len(i.Messages()) != 1 {
		t.Error("the mail was not kept")
	}
}

func TestDelayPassesBeforeTheReplyToTheDot(t *testing.T) {
	t.Parallel()
	i := open(t, inbox.Options{Delay: 100 * time.Millisecond})
	begun := time.Now()
	if err := send(i, nil, "a@example.com"); err != nil || time.Since(begun) < 100*time.Millisecond {
		t.Fatalf("after %s: %v", time.Since(begun), err)
	}
}

func TestCloseDoesNotWaitForADelay(t *testing.T) {
	t.Parallel()
	i, err := inbox.Open(inbox.Options{Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- send(i, nil, "a@example.com") }()
	time.AfterFunc(50*time.Millisecond, func() { i.Close() })
	if err := <-sent; err == nil {
		t.Fatal("answered in time")
	}
}
