package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Message is one message to one recipient. From and To are checked addr-specs and are written
// unchanged.
type Message struct {
	ID       string // passed to the journal
	From, To string
	UTF8     bool             // an address needs SMTPUTF8 (RFC 6531)
	Content  []byte           // header and body; lines end in CRLF and have at most 998 bytes
	NotAfter time.Time        // the dot is written before it, and no phase before the dot lasts longer; zero: no end
	ReplyBy  func() time.Time // called at the dot: the end of the wait for its reply; nil: the session's time-out
	Journal  Journal
	MayWrite func() error // the last check before the dot; nil: none
}

// Outcome says how far a message came.
type Outcome struct {
	Phase      Phase
	Reply      Reply // the last one; Code 0: none came
	DotWritten bool  // the dot may have reached the server
	Late       bool  // the journal allowed the dot, and it was not written
	Err        error // the journal's error, or why there is no reply
	Refused    bool  // Err is the journal's error
	Again      bool  // nothing was sent, and a new session may succeed at once: Options.Memory has recorded why
}

// Accepted reports whether the server accepted the message.
func (o Outcome) Accepted() bool { return o.Reply.Code/100 == 2 && o.Phase == PhaseReply }

// Errors of a message that this server, or any server, does not accept.
var (
	ErrUTF8    = errors.New("the server does not accept addresses beyond ASCII (SMTPUTF8)")
	ErrContent = errors.New("the content has a line that does not end in CRLF, or is longer than 998 bytes")
)

// Send sends one message to the server. Another message may follow. An outcome with an error or a
// refusal closes the session.
func (s *Session) Send(ctx context.Context, m Message) Outcome {
	s.begun = time.Now()
	if !wellFormed(m.Content) {
		return s.unsent(PhaseMail, ErrContent)
	}
	o := s.envelope(ctx, m)
	if s.noAuth != nil && o.Phase == PhaseMail && (o.Reply.Code/100 == 5 || hungUp(o.Err)) {
		o = Outcome{Phase: PhaseAuth, Reply: s.noAuth.Reply} // the server wants a log-in after all
	}
	if o.Err == nil && o.Reply.Code == 354 {
		o = s.content(ctx, m)
	}
	if !o.Accepted() || o.Err != nil {
		s.abort()
	}
	return o
}

// envelope sends MAIL, RCPT and DATA, in one write if the server announces PIPELINING (RFC 2920:
// DATA ends the group).
func (s *Session) envelope(ctx context.Context, m Message) Outcome {
	commands := []command{
		{PhaseMail, "MAIL FROM:<" + m.From + ">", 2},
		{PhaseRcpt, "RCPT TO:<" + m.To + ">", 2},
		{PhaseData, "DATA", 3},
	}
	if m.UTF8 {
		if _, ok := s.ext["SMTPUTF8"]; !ok {
			return s.unsent(PhaseMail, ErrUTF8)
		}
		commands[0].line += " SMTPUTF8"
	}
	if err := m.Journal.BeforeWrite(ctx, Write{ID: m.ID}); err != nil {
		return Outcome{Phase: PhaseMail, Err: err, Refused: true}
	}
	s.begun, s.c.notAfter = time.Now(), m.NotAfter
	_, together := s.ext["PIPELINING"]
	if !together || s.notes.oneByOne() {
		return s.exchange(commands, false)
	}
	o := s.exchange(commands, true)
	if ctx.Err() == nil && (m.NotAfter.IsZero() || time.Now().Before(m.NotAfter)) && lostCommands(o) {
		o.Again = s.notes.sendOneByOne()
	}
	return o
}

// lostCommands reports whether an envelope that was sent in one write ended as if the server, or a
// proxy before it, had lost a part of it: without a reply, or with a reply that a command is
// unknown or out of sequence.
func lostCommands(o Outcome) bool {
	text := strings.ToLower(o.Reply.text)
	return o.Err != nil || o.Reply.Code >= 500 && o.Reply.Code <= 504 ||
		o.Reply.Code/100 == 5 && (strings.Contains(text, "pipelin") || strings.Contains(text, "synchroni"))
}

// command is one command of an envelope.
type command struct {
	phase Phase
	line  string
	want  int // the class of the reply that allows the next command
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
			// the caller closes the connection, also after a 354 for a refused envelope
			return Outcome{Phase: c.phase, Reply: r}
		}
	}
	return Outcome{Phase: PhaseData, Reply: r}
}

// content asks the journal for the dot, writes content and dot at once, and reads the reply.
func (s *Session) content(ctx context.Context, m Message) Outcome {
	data := stuff(m.Content)
	if err := m.Journal.BeforeWrite(ctx, Write{ID: m.ID, Dot: true}); err != nil {
		return Outcome{Phase: PhaseData, Err: err, Refused: true}
	}
	if m.MayWrite != nil {
		if err := m.MayWrite(); err != nil {
			return s.late(err)
		}
	}
	now := time.Now()
	if !m.NotAfter.IsZero() && !now.Before(m.NotAfter) {
		return s.late(errors.New("the message has expired"))
	}
	s.begun = now
	s.c.arm()
	if n, err := s.c.Write(data); err != nil {
		// While a part of the last line is missing, the server cannot have accepted the message.
		o := s.lost(PhaseData, err)
		o.DotWritten = n > len(data)-len(endOfData)
		o.Late = !o.DotWritten
		return o
	}
	s.end(PhaseData, Reply{}, nil)
	by := time.Now().Add(s.c.timeout)
	if m.ReplyBy != nil {
		by = m.ReplyBy()
	}
	s.c.armUntil(by)
	r, err := s.c.only()
	if err != nil && r.Code == 0 {
		o := s.lost(PhaseReply, err)
		o.DotWritten = true
		return o
	}
	s.end(PhaseReply, r, nil)
	// a further reply closes the session
	return Outcome{Phase: PhaseReply, Reply: r, DotWritten: true, Err: err}
}

// earlier returns the earlier of t and end; a zero end counts as none.
func earlier(t, end time.Time) time.Time {
	if !end.IsZero() && end.Before(t) {
		return end
	}
	return t
}

// lost returns the outcome for a broken connection or a silent server.
func (s *Session) lost(p Phase, err error) Outcome {
	return s.unsent(p, fmt.Errorf("%s: %w", p, err))
}

// unsent returns the outcome for a message that ended in this phase.
func (s *Session) unsent(p Phase, err error) Outcome {
	s.end(p, Reply{}, err)
	return Outcome{Phase: p, Err: err}
}

// late returns the outcome for a dot that the journal allowed and that was not written.
func (s *Session) late(err error) Outcome {
	o := s.unsent(PhaseData, err)
	o.Late = true
	return o
}

// wellFormed reports whether CR and LF occur only as a pair, the content ends in CRLF, and no line
// is too long (RFC 5321 sections 2.3.8 and 4.5.3.1.6). So no server can read another end of the
// data than a second one does (SMTP smuggling).
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

// longestTextLine is the longest line in bytes, without CRLF.
const longestTextLine = 998

const endOfData = "\r\n.\r\n"

// stuff doubles a dot at the begin of a line (RFC 5321 section 4.5.2) and adds the end of the data.
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
