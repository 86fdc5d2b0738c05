package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/smtp"
)

func open(t *testing.T, o smtp.Options) *smtp.Session {
	t.Helper()
	s, err := smtp.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func watch(o smtp.Options, e *events, fail func([]byte) (int, error)) smtp.Options {
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return watched{c, e, fail}, err
	}
	return o
}

func TestJournalIsAskedBeforeEnvelopeAndContent(t *testing.T) {
	t.Parallel()
	e := &events{}
	s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK, dotOK)
	o := open(t, watch(s.options(), e, nil)).Send(t.Context(), message(journal{events: e}))
	if !o.Accepted() || !o.DotWritten || o.Reply.Code != 250 || o.Reply.Enhanced != "2.0.0" {
		t.Fatalf("%+v", o)
	}
	want := []string{
		"write EHLO client.example", "envelope m1", "write MAIL FROM:<pi@example.com>",
		"write RCPT TO:<alice@example.com>", "write DATA",
		"dot m1", "write Subject: x",
	}
	if diff := cmp.Diff(want, e.list()); diff != "" {
		t.Fatal(diff)
	}
}

func TestPipeliningPutsTheEnvelopeIntoOneWrite(t *testing.T) {
	t.Parallel()
	e := &events{}
	s := play(t, nil, greeting, step{"EHLO", "250-mail.example\r\n250 PIPELINING\r\n"},
		step{"MAIL", ""}, step{"RCPT", ""}, step{"DATA", "250 ok\r\n250 ok\r\n354 go\r\n"}, dotOK)
	o := open(t, watch(s.options(), e, nil)).Send(t.Context(), message(journal{events: e}))
	if !o.Accepted() {
		t.Fatalf("%+v", o)
	}
	want := []string{"write EHLO client.example", "envelope m1", "write MAIL FROM:<pi@example.com>", "dot m1",
		"write Subject: x"}
	if diff := cmp.Diff(want, e.list()); diff != "" {
		t.Fatal(diff)
	}
}

func TestSeveralMessagesGoByOneSession(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK, dotOK, mailOK, rcptOK, dataOK, dotOK)
	session := open(t, s.options())
	for range 2 {
		if o := session.Send(t.Context(), message(journal{})); !o.Accepted() {
			t.Fatalf("%+v", o)
		}
	}
	var phases []smtp.Phase
	for _, p := range session.Phases() {
		phases = append(phases, p.Phase)
	}
	one := []smtp.Phase{smtp.PhaseMail, smtp.PhaseRcpt, smtp.PhaseData, smtp.PhaseData, smtp.PhaseReply}
	want := append(append([]smtp.Phase{smtp.PhaseDNS, smtp.PhaseConnect, smtp.PhaseGreeting, smtp.PhaseEHLO},
		one...), one...)
	if diff := cmp.Diff(want, phases); diff != "" {
		t.Fatal(diff)
	}
}

// Every way in which a transaction ends, by what the server does.
func TestOutcomeSaysHowFarTheMessageCame(t *testing.T) {
	t.Parallel()
	begin := join(greeting, ehlo)
	content := join(begin, mailOK, rcptOK, dataOK)
	type want struct {
		Phase      smtp.Phase
		Code       int
		DotWritten bool
		Failed     bool
	}
	for name, c := range map[string]struct {
		steps []step
		want  want
	}{
		"MAIL refused": {join(begin, step{"MAIL", "451 4.7.1 greylisted\r\n"}),
			want{smtp.PhaseMail, 451, false, false}},
		"MAIL hangs up": {join(begin, step{"MAIL", hangUp}), want{smtp.PhaseMail, 0, false, true}},
		"RCPT refused": {join(begin, mailOK, step{"RCPT", "550 5.1.1 no such user\r\n"}),
			want{smtp.PhaseRcpt, 550, false, false}},
		"RCPT forwarded": {join(begin, mailOK, step{"RCPT", "251 forwarded\r\n"}, dataOK, dotOK),
			want{smtp.PhaseReply, 250, true, false}},
		"DATA refused": {join(begin, mailOK, rcptOK, step{"DATA", "554 5.7.1 no\r\n"}),
			want{smtp.PhaseData, 554, false, false}},
		"DATA answered with 250": {join(begin, mailOK, rcptOK, step{"DATA", "250 ok\r\n"}),
			want{smtp.PhaseData, 250, false, false}},
		"DATA answered with 334": {join(begin, mailOK, rcptOK, step{"DATA", "334 go\r\n"}),
			want{smtp.PhaseData, 334, false, false}},
		"surplus reply to MAIL": {join(begin, step{"MAIL", "250 ok\r\n250 ok\r\n"}),
			want{smtp.PhaseMail, 0, false, true}},
		"reply before the content": {join(begin, mailOK, rcptOK, step{"DATA", "354 go\r\n250 ok\r\n"}),
			want{smtp.PhaseData, 0, false, true}},
		"dot deferred": {join(content, step{".", "451 4.3.0 later\r\n"}),
			want{smtp.PhaseReply, 451, true, false}},
		"dot refused":      {join(content, step{".", "554 5.7.1 spam\r\n"}), want{smtp.PhaseReply, 554, true, false}},
		"dot not answered": {join(content, step{".", hangUp}), want{smtp.PhaseReply, 0, true, true}},
		"half a reply to the dot": {join(content, step{".", "250-queued\r\n"}, step{"", hangUp}),
			want{smtp.PhaseReply, 0, true, true}},
		"two codes in one reply": {join(content, step{".", "250-queued\r\n554 no\r\n"}),
			want{smtp.PhaseReply, 0, true, true}},
		"no reply but words": {join(content, step{".", "thank you\r\n"}), want{smtp.PhaseReply, 0, true, true}},
		"surplus behind the last": {join(content, step{".", "250 ok\r\n250 ok\r\n"}),
			want{smtp.PhaseReply, 250, true, true}},
		"line of 8 KiB": {join(content, step{".", "250 " + strings.Repeat("x", 8<<10) + "\r\n"}),
			want{smtp.PhaseReply, 0, true, true}},
		"more than a hundred lines": {join(content, step{".", strings.Repeat("250-x\r\n", 100) + "250 x\r\n"}),
			want{smtp.PhaseReply, 0, true, true}},
		"a hundred lines": {join(content, step{".", strings.Repeat("250-x\r\n", 99) + "250 x\r\n"}),
			want{smtp.PhaseReply, 250, true, false}},
		"reply that is a code alone": {join(content, step{".", "250\r\n"}), want{smtp.PhaseReply, 250, true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, nil, c.steps...)
			o := open(t, s.options()).Send(t.Context(), message(journal{}))
			got := want{o.Phase, o.Reply.Code, o.DotWritten, o.Err != nil}
			if diff := cmp.Diff(c.want, got); diff != "" || o.Late || o.Refused {
				t.Fatalf("%s%+v", diff, o)
			}
		})
	}
}

func TestSilentServerEndsThePhaseAfterItsTime(t *testing.T) {
	t.Parallel()
	for phase, steps := range map[smtp.Phase][]step{
		smtp.PhaseMail:  join(greeting, ehlo, step{"MAIL", silent}),
		smtp.PhaseRcpt:  join(greeting, ehlo, mailOK, step{"RCPT", silent}),
		smtp.PhaseData:  join(greeting, ehlo, mailOK, rcptOK, step{"DATA", silent}),
		smtp.PhaseReply: join(greeting, ehlo, mailOK, rcptOK, dataOK, step{".", silent}),
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			s := play(t, nil, steps...)
			options := s.options()
			options.Timeout = 200 * time.Millisecond
			o := open(t, options).Send(t.Context(), message(journal{}))
			var timeout net.Error
			if o.Phase != phase || !errors.As(o.Err, &timeout) || !timeout.Timeout() ||
				o.DotWritten != (phase == smtp.PhaseReply) {
				t.Fatalf("%+v", o)
			}
		})
	}
}

// The phases' time-out is ten minutes, the life is short.
func TestNoPhaseBeforeTheDotOutlastsTheMessage(t *testing.T) {
	t.Parallel()
	for phase, steps := range map[smtp.Phase][]step{
		smtp.PhaseMail: join(greeting, ehlo, step{"MAIL", silent}),
		smtp.PhaseData: join(greeting, ehlo, mailOK, rcptOK, step{"DATA", silent}),
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			for life := 200 * time.Millisecond; ; life *= 2 { // a busy machine may need longer to come to the phase
				options := play(t, nil, steps...).options()
				options.Timeout = 10 * time.Minute
				l := message(journal{})
				session := open(t, options)
				l.NotAfter = time.Now().Add(life)
				o := session.Send(t.Context(), l)
				if o.Phase != phase && life < 20*time.Second {
					continue
				}
				if late := time.Since(l.NotAfter); o.Phase != phase || o.Err == nil || o.DotWritten || late < 0 ||
					late > time.Minute {
					t.Fatalf("%s after the end: %+v", late, o)
				}
				return
			}
		})
	}
}

func TestReplyToTheDotIsAwaitedUntilItsOwnDeadline(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK, step{".", silent})
	l := message(journal{})
	l.ReplyBy = func() time.Time { return time.Now().Add(150 * time.Millisecond) }
	begun := time.Now()
	options := s.options()
	options.Timeout = 10 * time.Minute
	o := open(t, options).Send(t.Context(), l)
	if !o.DotWritten || o.Reply.Code != 0 || time.Since(begun) > time.Minute {
		t.Fatalf("after %s: %+v", time.Since(begun), o)
	}
}

func TestRefusedEnvelopeClosesWithoutAWord(t *testing.T) {
	t.Parallel()
	no := errors.New("not wanted")
	s := play(t, nil, greeting, ehlo)
	o := open(t, s.options()).Send(t.Context(), message(journal{noEnvelope: no}))
	if !o.Refused || !errors.Is(o.Err, no) || o.DotWritten {
		t.Fatalf("%+v", o)
	}
	if got := s.got(); got != "EHLO client.example\r\n" {
		t.Fatalf("server got %q", got)
	}
}

func TestRefusedDotSendsNothingOfTheContent(t *testing.T) {
	t.Parallel()
	no := errors.New("not wanted")
	s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK)
	o := open(t, s.options()).Send(t.Context(), message(journal{noDot: no}))
	if !o.Refused || !errors.Is(o.Err, no) || o.DotWritten {
		t.Fatalf("%+v", o)
	}
	if got := s.got(); !strings.HasSuffix(got, "DATA\r\n") {
		t.Fatalf("server got %q", got)
	}
}

func TestNothingIsWrittenWhenTheTimeEndsBehindTheJournal(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*smtp.Message, time.Duration){
		"asked": func(l *smtp.Message, _ time.Duration) {
			l.MayWrite = func() error { return errors.New("the lease has lapsed") }
		},
		"the time": func(l *smtp.Message, life time.Duration) {
			l.NotAfter = time.Now().Add(life)
			l.Journal = journal{beforeDot: func() { <-time.After(time.Until(l.NotAfter)) }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for life := 200 * time.Millisecond; ; life *= 2 { // a busy machine may need longer to come to DATA
				s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK)
				l := message(journal{})
				session := open(t, s.options())
				change(&l, life)
				o := session.Send(t.Context(), l)
				got := s.got()
				if !strings.HasSuffix(got, "DATA\r\n") && life < 20*time.Second {
					continue
				}
				if !o.Late || o.DotWritten || o.Refused || !strings.HasSuffix(got, "DATA\r\n") {
					t.Fatalf("%+v; server got %q", o, got)
				}
				return
			}
		})
	}
}

// The server takes nothing any more, so the write blocks: it ends at the message's end, not at the phase's.
func TestWriteOfTheContentEndsWithTheMessage(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer close(stuck)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		io.WriteString(c, "220 x\r\n")
		for _, reply := range []string{"250 x\r\n", "250 x\r\n", "250 x\r\n", "354 x\r\n"} {
			r.ReadString('\n')
			io.WriteString(c, reply)
		}
		<-stuck
	}()
	options := (&script{listener: l}).options()
	options.Timeout = 10 * time.Minute
	big := message(journal{})
	big.Content = bytes.Repeat([]byte(strings.Repeat("x", 900)+"\r\n"), 15_000)
	big.NotAfter = time.Now().Add(3 * time.Second)
	begun := time.Now()
	o := open(t, options).Send(t.Context(), big)
	if !o.Late || o.DotWritten || time.Since(begun) > time.Minute {
		t.Fatalf("after %s: %+v", time.Since(begun), o)
	}
}

// A server cannot have taken a message whose end is missing; as soon as a byte of the end may be out, it may.
func TestBrokenWriteIsUnknownOnlyWhenTheEndMayBeOut(t *testing.T) {
	t.Parallel()
	const end = len("\r\n.\r\n")
	size := len("Subject: x\r\n\r\nbody") + end
	for n, want := range map[int]bool{0: false, size - end: false, size - end + 1: true, size - 1: true, size: true} {
		s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK)
		options := watch(s.options(), nil, func(p []byte) (int, error) {
			if strings.HasPrefix(string(p), "Subject") {
				if len(p) != size {
					t.Errorf("content of %d bytes, want %d", len(p), size)
				}
				return n, errors.New("broken")
			}
			return 0, nil
		})
		o := open(t, options).Send(t.Context(), message(journal{}))
		if o.DotWritten != want || o.Late == want || o.Accepted() {
			t.Errorf("%d of %d bytes out: %+v", n, size, o)
		}
	}
}

func TestAddressCannotCarryACommand(t *testing.T) {
	t.Parallel()
	s := play(t, nil, greeting, ehlo)
	l := message(journal{})
	l.To = "alice@example.com>\r\nRCPT TO:<eve@example.com"
	l.From = l.To
	if o := open(t, s.options()).Send(t.Context(), l); o.Err == nil || o.Accepted() {
		t.Fatalf("%+v", o)
	}
	if got := s.got(); strings.Contains(got, "eve") {
		t.Fatalf("server got %q", got)
	}
}

func TestContentThatCouldEndEarlyIsNotSent(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"a\n.\nMAIL FROM:<eve@example.com>\r\n", "a\r.\r\n", "a\r\n.\n", "a", "a\x00b\r\n",
		strings.Repeat("x", 999) + "\r\n",
	} {
		s := play(t, nil, greeting, ehlo)
		l := message(journal{})
		l.Content = []byte(content)
		if o := open(t, s.options()).Send(t.Context(), l); !errors.Is(o.Err, smtp.ErrContent) {
			t.Errorf("%q: %+v", content, o)
		}
	}
}

func TestDotAtTheBeginningOfALineArrivesAsItWas(t *testing.T) {
	t.Parallel()
	content := ".\r\n..\r\n.x\r\ny.\r\n\r\n.\r\n"
	s := play(t, nil, greeting, ehlo, mailOK, rcptOK, dataOK, dotOK)
	l := message(journal{})
	l.Content = []byte(content)
	session := open(t, s.options())
	if o := session.Send(t.Context(), l); !o.Accepted() {
		t.Fatalf("%+v", o)
	}
	session.Close()
	got := s.got()
	wire := got[strings.Index(got, "DATA\r\n")+len("DATA\r\n") : strings.LastIndex(got, "QUIT")]
	text, err := io.ReadAll(textproto.NewReader(bufio.NewReader(strings.NewReader(wire))).DotReader())
	if err != nil || string(text) != strings.ReplaceAll(content, "\r\n", "\n") {
		t.Fatalf("arrived as %q, %v", text, err)
	}
}

func TestEndOfTheContextEndsTheWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := play(t, nil, greeting, ehlo, step{"MAIL", silent})
	session, err := smtp.Open(ctx, s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	time.AfterFunc(50*time.Millisecond, cancel)
	begun := time.Now()
	if o := session.Send(ctx, message(journal{})); o.Err == nil || time.Since(begun) > 3*time.Second {
		t.Fatalf("after %s: %+v", time.Since(begun), o)
	}
}

func TestSMTPUTF8IsUsedWhereItIsAnnouncedAndElseRefused(t *testing.T) {
	t.Parallel()
	l := message(journal{})
	l.To, l.UTF8 = "jürgen@example.com", true
	s := play(t, nil, greeting, ehlo)
	if o := open(t, s.options()).Send(t.Context(), l); !errors.Is(o.Err, smtp.ErrUTF8) {
		t.Fatalf("%+v", o)
	}
	s = play(t, nil, greeting, step{"EHLO", "250-x\r\n250 SMTPUTF8\r\n"},
		step{"MAIL FROM:<pi@example.com> SMTPUTF8", "250 ok\r\n"},
		step{"RCPT TO:<jürgen@example.com>", "250 ok\r\n"}, dataOK, dotOK)
	if o := open(t, s.options()).Send(t.Context(), l); !o.Accepted() {
		t.Fatalf("%+v", o)
	}
}
