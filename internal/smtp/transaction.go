package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Letter is one message to one recipient. From and To are addr-specs that were checked: they are written as they stand.
type Letter struct {
	ID       string // told to the journal
	From, To string
	UTF8     bool             // an address needs SMTPUTF8 (RFC 6531)
	Content  []byte           // header and body; lines end in CRLF, none is longer than 998 bytes
	NotAfter time.Time        // no dot from then on, and no phase before it outlasts it; zero: no end
	ReplyBy  func() time.Time // asked at the dot: how long its reply is awaited; nil: the session's time-out
	Journal  Journal
	MayWrite func() error // the last question before the dot; nil: yes
}

// Outcome says how far a letter came.
type Outcome struct {
	Phase      Phase
	Reply      Reply // that ended it; Code 0: none came
	DotWritten bool  // the dot may have reached the server
	Late       bool  // the journal agreed to the dot, and it was not written
	Err        error // the journal's, or why there is no reply
	Refused    bool  // Err is the journal's
	Again      bool  // nothing was sent, and a new session at once may fare better: Options.Memory has learnt why
}

// Accepted reports whether the server took the letter.
func (o Outcome) Accepted() bool { return o.Reply.Code/100 == 2 && o.Phase == PhaseReply }

// Errors of a letter that this server, or any, cannot be given.
var (
	ErrUTF8    = errors.New("the server takes no address beyond ASCII (SMTPUTF8)")
	ErrContent = errors.New("the content has a line that does not end in CRLF, or is longer than 998 bytes")
)

// Send brings one letter to the server. Another may follow after it, unless the outcome has an error or a refusal, which
// close the session.
func (s *Session) Send(ctx context.Context, l Letter) Outcome {
	s.begun = time.Now()
	if !wellFormed(l.Content) {
		return s.unsent(PhaseMail, ErrContent)
	}
	o := s.envelope(ctx, l)
	if s.noAuth != nil && o.Phase == PhaseMail && (o.Reply.Code/100 == 5 || hungUp(o.Err)) {
		o = Outcome{Phase: PhaseAuth, Reply: s.noAuth.Reply} // the log-in is missing after all
	}
	if o.Err == nil && o.Reply.Code == 354 {
		o = s.content(ctx, l)
	}
	if !o.Accepted() || o.Err != nil {
		s.abort()
	}
	return o
}

// envelope sends MAIL, RCPT and DATA, in one write where the server takes it (RFC 2920: DATA ends the group).
func (s *Session) envelope(ctx context.Context, l Letter) Outcome {
	commands := []command{
		{PhaseMail, "MAIL FROM:<" + l.From + ">", 2},
		{PhaseRcpt, "RCPT TO:<" + l.To + ">", 2},
		{PhaseData, "DATA", 3},
	}
	if l.UTF8 {
		if _, ok := s.ext["SMTPUTF8"]; !ok {
			return s.unsent(PhaseMail, ErrUTF8)
		}
		commands[0].line += " SMTPUTF8"
	}
	if err := l.Journal.BeforeWrite(ctx, Write{Envelopes: []string{l.ID}}); err != nil {
		return Outcome{Phase: PhaseMail, Err: err, Refused: true}
	}
	s.begun, s.c.notAfter = time.Now(), l.NotAfter
	_, together := s.ext["PIPELINING"]
	if !together || s.notes.oneByOne() {
		return s.exchange(commands, false)
	}
	o := s.exchange(commands, true)
	if ctx.Err() == nil && (l.NotAfter.IsZero() || time.Now().Before(l.NotAfter)) && lostCommands(o) {
		o.Again = s.notes.sendOneByOne()
	}
	return o
}

// lostCommands reports whether an envelope that went in one write ended as if the server, or a proxy before it, had
// not read all of it: no reply, or one that says that a command is unknown or out of sequence.
func lostCommands(o Outcome) bool {
	text := strings.ToLower(o.Reply.text)
	return o.Err != nil || o.Reply.Code >= 500 && o.Reply.Code <= 504 ||
		o.Reply.Code/100 == 5 && (strings.Contains(text, "pipelin") || strings.Contains(text, "synchroni"))
}

// command is one of an envelope.
type command struct {
	phase Phase
	line  string
	want  int // the class of the reply that lets the next command follow
}

// exchange sends the commands, together in one write or one by one, and reads their replies up to the first refusal.
func (s *Session) exchange(commands []command, together bool) Outcome {
	if together {
		lines := make([]string, len(commands))
		for i, c := range commands {
			lines[i] = c.line
		}
		s.c.arm()
		if err := s.c.write(lines...); err != nil {
			return s.lost(commands[0].phase, err)
		}
	}
	var r Reply
	for i, c := range commands {
		s.c.arm()
		var err error
		switch {
		case !together:
			r, err = s.c.command(c.line)
		case i == len(commands)-1:
			r, err = s.c.only()
		default:
			r, err = s.c.reply()
		}
		if err != nil {
			return s.lost(c.phase, err)
		}
		s.end(c.phase, r, nil)
		if r.Code/100 != c.want {
			return Outcome{Phase: c.phase, Reply: r} // a 354 that may follow a refused envelope is answered by closing
		}
	}
	return Outcome{Phase: PhaseData, Reply: r}
}

// content commits the dot by the journal, writes content and dot at once, and reads the reply.
func (s *Session) content(ctx context.Context, l Letter) Outcome {
	data := stuff(l.Content)
	if err := l.Journal.BeforeWrite(ctx, Write{Dots: []string{l.ID}}); err != nil {
		return Outcome{Phase: PhaseData, Err: err, Refused: true}
	}
	if l.MayWrite != nil {
		if err := l.MayWrite(); err != nil {
			return s.late(err)
		}
	}
	now := time.Now()
	if !l.NotAfter.IsZero() && !now.Before(l.NotAfter) {
		return s.late(errors.New("the message's time is over"))
	}
	s.begun = now
	s.c.arm()
	if n, err := s.c.Write(data); err != nil {
		// As long as a part of the last line is missing, the server cannot have taken the message.
		o := s.lost(PhaseData, err)
		o.DotWritten = n > len(data)-len(endOfData)
		o.Late = !o.DotWritten
		return o
	}
	s.end(PhaseData, Reply{}, nil)
	by := time.Now().Add(s.c.timeout)
	if l.ReplyBy != nil {
		by = l.ReplyBy()
	}
	s.c.armUntil(by)
	r, err := s.c.only()
	if err != nil && r.Code == 0 {
		o := s.lost(PhaseReply, err)
		o.DotWritten = true
		return o
	}
	s.end(PhaseReply, r, nil)
	return Outcome{Phase: PhaseReply, Reply: r, DotWritten: true, Err: err} // a surplus behind the reply closes the session
}

// earlier returns t, or end when that comes before it; the zero end never does.
func earlier(t, end time.Time) time.Time {
	if !end.IsZero() && end.Before(t) {
		return end
	}
	return t
}

// lost is the outcome of a connection that broke or a server that was silent.
func (s *Session) lost(p Phase, err error) Outcome {
	return s.unsent(p, fmt.Errorf("%s: %w", p, err))
}

// unsent is the outcome of a letter that came no further than this phase.
func (s *Session) unsent(p Phase, err error) Outcome {
	s.end(p, Reply{}, err)
	return Outcome{Phase: p, Err: err}
}

// late is the outcome of a dot that the journal agreed to and that is not written any more.
func (s *Session) late(err error) Outcome {
	o := s.unsent(PhaseData, err)
	o.Late = true
	return o
}

// wellFormed reports whether CR and LF stand only as a pair, as the last two bytes too, and no line is too long (RFC 5321
// sections 2.3.8 and 4.5.3.1.6): what one server takes for the end of the data and another does not, is never sent.
func wellFormed(content []byte) bool {
	for line := range bytes.SplitAfterSeq(content, []byte("\r\n")) {
		if len(line) == 0 {
			continue
		}
		rest, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if !ended || len(rest) > longestTextLine || bytes.ContainsAny(rest, "\r\n\x00") {
			return false
		}
	}
	return true
}

// longestTextLine is in bytes, without CRLF.
const longestTextLine = 998

const endOfData = "\r\n.\r\n"

// stuff doubles the dot that begins a line (RFC 5321 section 4.5.2) and adds the end of the data.
func stuff(content []byte) []byte {
	content = bytes.TrimSuffix(content, []byte("\r\n"))
	data := make([]byte, 0, len(content)+len(content)/64+len(endOfData))
	for line := range bytes.SplitAfterSeq(content, []byte("\r\n")) {
		if len(line) > 0 && line[0] == '.' {
			data = append(data, '.')
		}
		data = append(data, line...)
	}
	return append(data, endOfData...)
}
